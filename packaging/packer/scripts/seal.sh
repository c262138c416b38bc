# What is of this instance goes: identities, logs, keys, caches, the agent's state. What is the image's stays. Then the hold is lifted, which takes
# effect at the first boot of what is made of this disk.
slipway image-prep
slipway image-prep --check

if command -v cloud-init >/dev/null 2>&1; then cloud-init clean --logs >/dev/null 2>&1 || :; fi
if command -v dnf >/dev/null 2>&1; then dnf -q clean all >/dev/null 2>&1 || :; fi
rm -rf /var/cache/dnf /var/cache/yum /var/lib/dhclient/* /tmp/* /var/tmp/*
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
for home in /root /home/*; do rm -f "$home/.bash_history" "$home/.ssh/authorized_keys"; done
: >/etc/machine-id
find /var/log -type f -exec truncate -s 0 {} +
rm -rf /var/log/journal/*

rm -f /etc/slipway/hold
sync
