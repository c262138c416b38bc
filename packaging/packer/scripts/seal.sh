# What is of this instance goes: identities, logs, keys, caches, the agent's state. What is the image's stays. Then the hold is lifted, which takes
# effect at the first boot of what is made of this disk.
slipway image-prep
slipway image-prep --check

if command -v cloud-init >/dev/null 2>&1; then cloud-init clean --logs >/dev/null 2>&1 || :; fi
if command -v dnf >/dev/null 2>&1; then dnf -q clean all >/dev/null 2>&1 || :; fi
rm -rf /var/cache/dnf /var/cache/yum /var/lib/dhclient/* /tmp/* /var/tmp/*
rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
# New keys are made at the first boot by cloud-init, or by the units of Fedora's kind. Where there is neither, as on a bare Debian, by this one:
# without keys sshd does not start.
if ! command -v cloud-init >/dev/null 2>&1 && ! systemctl cat sshd-keygen@.service >/dev/null 2>&1 && command -v ssh-keygen >/dev/null 2>&1; then
	cat >/etc/systemd/system/ssh-host-keys.service <<-'END'
		[Unit]
		Description=Host keys of sshd, once per instance
		Before=ssh.service sshd.service
		ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key
		[Service]
		Type=oneshot
		ExecStart=/usr/bin/ssh-keygen -A
		[Install]
		WantedBy=multi-user.target
	END
	systemctl -q enable ssh-host-keys.service
fi
for home in /root /home/*; do rm -f "$home/.bash_history" "$home/.ssh/authorized_keys"; done
: >/etc/machine-id
[ ! -f /var/lib/dbus/machine-id ] || [ -L /var/lib/dbus/machine-id ] || rm -f /var/lib/dbus/machine-id
find /var/log -type f -exec truncate -s 0 {} +
rm -rf /var/log/journal/*

rm -f /etc/slipway/hold
sync
