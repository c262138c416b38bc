# An Amazon Linux image with PHP, httpd and the agent, sealed: nothing of the bake is left in it, and the agent has not polled once.
#
#   make rpm
#   packer init packaging/packer
#   packer build -var region=ap-northeast-1 packaging/packer
#
# Credentials come from the environment, a profile or the role of the host that builds (packaging/iam/packer.json is what they must allow);
# none is a variable, and none gets into the image.

packer {
  required_plugins {
    amazon = {
      version = ">= 1.2.1"
      source  = "github.com/hashicorp/amazon"
    }
  }
}

locals {
  # The newest image of the release, as Amazon publishes them. One kernel: there are images of the same release with others, of the same day.
  names = {
    al2023 = "al2023-ami-2023.*-kernel-6.1-${var.architecture}"
    al2    = "amzn2-ami-kernel-5.10-hvm-2.0.*-${var.architecture}-gp2"
  }
  packages = {
    x86_64 = "slipway-${var.package_version}-1.x86_64.rpm"
    arm64  = "slipway-${var.package_version}-1.aarch64.rpm"
  }
  stamp = formatdate("YYYYMMDD-hhmmss", timestamp())

  # Everything that a bake makes is marked from its creation on, and packaging/iam/packer.json lets the bake touch nothing else. The mark of an
  # image that is done is another one: no later bake can change it or take it away.
  running = merge(var.tags, { Name = "baking ${var.name}", SlipwayBake = "running" })
  done    = merge(var.tags, { Name = "${var.name}-${var.release}", Slipway = var.package_version, SlipwayBake = "done" })

  # EC2 refuses to share what is encrypted with the account's default key, once all is done. This fails, with its text, before anything is begun.
  unshareable = var.encrypted && length(var.share_with) > 0 && var.kms_key_id == ""
  shareable   = local.unshareable ? parseint("share_with needs a kms_key_id, or encrypted=false", 10) : 0
}

source "amazon-ebs" "image" {
  region        = var.region
  instance_type = var.instance_type
  subnet_id     = var.subnet_id

  source_ami_filter {
    owners      = var.source_owners
    most_recent = true
    filters = {
      name                = var.source_name != "" ? var.source_name : local.names[var.release]
      architecture        = var.architecture
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
  }

  ssh_username                          = "ec2-user"
  ssh_interface                         = var.ssh_interface
  temporary_key_pair_type               = "ed25519"
  temporary_security_group_source_cidrs = var.ssh_from

  ami_name             = "${var.name}-${var.release}-${local.stamp}"
  ami_description      = "${var.name}: ${var.release} with PHP, httpd and slipway ${var.package_version}"
  ami_users            = var.share_with
  force_deregister     = false
  ebs_optimized        = true
  shutdown_behavior    = "terminate"
  iam_instance_profile = var.instance_profile

  # The instance that is baked speaks to the metadata service with a token only. One hop: nothing on it is a container.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  # Encrypted from the start: encrypt_boot would make an image that is not, and encrypt a copy of it.
  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_type           = "gp3"
    delete_on_termination = true
    encrypted             = var.encrypted
    kms_key_id            = var.kms_key_id
  }

  run_tags        = local.running
  run_volume_tags = local.running
  tags            = merge(local.done, { Source = "{{ .SourceAMIName }}" })
}

build {
  sources = ["source.amazon-ebs.image"]

  # Before anything else: as long as this file is there, no start of the agent is one.
  provisioner "shell" {
    execute_command = "sudo -n env {{ .Vars }} sh -eu {{ .Path }}"
    scripts         = ["${path.root}/scripts/hold.sh", "${path.root}/scripts/wait.sh"]
  }

  provisioner "file" {
    source      = "${var.package_dir}/${local.packages[var.architecture]}"
    destination = "/tmp/${local.packages[var.architecture]}"
  }

  provisioner "file" {
    source      = var.profile
    destination = "/tmp/profile.yml"
  }

  provisioner "shell" {
    execute_command = "sudo -n env {{ .Vars }} sh -eu {{ .Path }}"
    environment_vars = [
      "SLIPWAY_PACKAGE=/tmp/${local.packages[var.architecture]}",
      "SLIPWAY_PROFILE=/tmp/profile.yml",
      "SLIPWAY_REVISION=${var.revision}",
      "SLIPWAY_GROUP=${var.deployment_group}",
    ]
    scripts = ["${path.root}/scripts/install.sh", "${path.root}/scripts/provision.sh", "${path.root}/scripts/deploy.sh"]
  }

  # Last: what is done after this is not sealed.
  provisioner "shell" {
    execute_command = "sudo -n env {{ .Vars }} sh -eu {{ .Path }}"
    script          = "${path.root}/scripts/seal.sh"
  }

  post-processor "manifest" {
    output     = var.manifest
    strip_path = true
  }
}
