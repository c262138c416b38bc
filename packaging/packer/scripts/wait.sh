# cloud-init installs packages and changes users at the first boot: to work beside it is to fight for the package manager's lock.
if command -v cloud-init >/dev/null 2>&1; then
	timeout 600 cloud-init status --wait >/dev/null || {
		echo "cloud-init did not come to its end within 10 minutes, or failed: see /var/log/cloud-init-output.log on the instance" >&2
		exit 1
	}
fi
