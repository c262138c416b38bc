variable "region" {
  type        = string
  description = "Region of the bake and of the image."
}

variable "release" {
  type        = string
  default     = "al2023"
  description = "Release of Amazon Linux: al2023 or al2."
  validation {
    condition     = contains(["al2023", "al2"], var.release)
    error_message = "The release is al2023 or al2."
  }
}

variable "architecture" {
  type        = string
  default     = "x86_64"
  description = "Processor of the image: x86_64 or arm64; instance_type must have it."
  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "The architecture is x86_64 or arm64."
  }
}

variable "instance_type" {
  type        = string
  default     = "t3.small"
  description = "Instance that is baked on; t4g.small for arm64."
}

variable "source_name" {
  type        = string
  default     = ""
  description = "Pattern of the source image's name; empty for the newest of the release."
}

variable "source_owners" {
  type        = list(string)
  default     = ["amazon"]
  description = "Accounts that the source image may come from."
}

variable "subnet_id" {
  type        = string
  default     = ""
  description = "Subnet of the bake; empty for the default one."
}

variable "ssh_interface" {
  type        = string
  default     = "public_ip"
  description = "How the instance is reached: public_ip, private_ip, session_manager."
}

variable "ssh_from" {
  type        = list(string)
  default     = ["0.0.0.0/0"]
  description = "Addresses that may reach the instance's port 22 during the bake, as CIDR blocks. Nobody can log in but with the key of this bake."
}

variable "instance_profile" {
  type        = string
  default     = ""
  description = "Instance profile of the bake: needed by session_manager, and to read the bucket of a revision. Never that of the fleet."
}

variable "encrypted" {
  type        = bool
  default     = true
  description = "Encrypt the root volume of the bake and so the image. packaging/iam/packer.json insists on it."
}

variable "kms_key_id" {
  type        = string
  default     = ""
  description = "Key to encrypt with; empty for the account's default key, with which an image cannot be shared."
}

variable "share_with" {
  type        = list(string)
  default     = []
  description = "Accounts that may launch the image."
}

variable "name" {
  type        = string
  default     = "slipway"
  description = "First word of the image's name."
}

variable "tags" {
  type        = map(string)
  default     = {}
  description = "Tags of image and snapshot, and of all that the bake makes. SlipwayBake is the template's own."
}

variable "package_dir" {
  type        = string
  default     = "dist"
  description = "Folder with the rpm packages, as make rpm leaves them."
}

variable "package_version" {
  type        = string
  default     = "0.1.0"
  description = "Version of the package to install."
}

variable "profile" {
  type        = string
  default     = "packaging/provision/tinitter.yml"
  description = "Profile for slipway provision apply."
}

variable "revision" {
  type        = string
  default     = ""
  description = "Revision to deploy into the image, s3://BUCKET/KEY or s3://BUCKET/KEY?versionId=ID; empty for none."
}

variable "deployment_group" {
  type        = string
  default     = ""
  description = "Id of the deployment group that the revision is of: aws deploy get-deployment-group shows it. Needed with a revision."
}

variable "manifest" {
  type        = string
  default     = "manifest.json"
  description = "File that tells which image was made."
}
