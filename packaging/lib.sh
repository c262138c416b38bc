# What the scripts of this folder share: installing packages and talking to a person. Sourced, never run.

say() { printf '%s\n' "$*"; }
die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# need COMMAND=DEBIAN-PACKAGES=RPM-PACKAGES...: installs the packages of the commands that are missing. Lists are separated by commas.
need() {
	local missing=() spec cmd deb rpm
	for spec; do
		IFS== read -r cmd deb rpm <<<"$spec"
		command -v "$cmd" >/dev/null 2>&1 || missing+=("$spec")
	done
	((${#missing[@]})) || return 0
	local pkgs=() said=
	if command -v apt-get >/dev/null; then
		for spec in "${missing[@]}"; do
			IFS== read -r cmd deb rpm <<<"$spec"
			pkgs+=(${deb//,/ })
		done
	elif command -v dnf >/dev/null; then
		for spec in "${missing[@]}"; do
			IFS== read -r cmd deb rpm <<<"$spec"
			pkgs+=(${rpm//,/ })
		done
	else
		die "neither apt-get nor dnf is here: install by hand what gives these commands: ${missing[*]%%=*}"
	fi
	if ((EUID != 0)); then
		die "these commands are missing: ${missing[*]%%=*}. As root this installs them itself; otherwise: install ${pkgs[*]}"
	fi
	say "installing ${pkgs[*]}"
	if command -v apt-get >/dev/null; then
		export DEBIAN_FRONTEND=noninteractive
		apt-get -qq update >/dev/null 2>&1 && said=$(apt-get -o DPkg::Lock::Timeout=300 -qq install -y --no-install-recommends "${pkgs[@]}" 2>&1 >/dev/null)
	else
		dnf -q -y install "${pkgs[@]}" >/dev/null
	fi || die "the packages ${pkgs[*]} cannot be installed: ${said:-see above}"
}
