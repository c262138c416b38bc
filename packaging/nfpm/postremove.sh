#!/bin/sh
# What is left after a removal is the deployment root, which belongs to the deployments, and what of the configuration was changed. dpkg keeps
# configuration and logs until a purge.
set -e

if [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then systemctl daemon-reload || :; fi
case "$1" in
remove | purge | 0)
	rm -rf /run/slipway
	rm -f /opt/codedeploy-agent/state/.pid/codedeploy-agent.pid /opt/codedeploy-agent/state/.pid/codedeploy-agent.pid.lock
	rmdir /opt/codedeploy-agent/state/.pid /opt/codedeploy-agent/state 2>/dev/null || :
	;;
esac
case "$1" in
purge | 0)
	rm -f /etc/slipway/hold /var/log/aws/codedeploy-agent/codedeploy-agent.log*
	rmdir /var/log/aws/codedeploy-agent /var/log/aws 2>/dev/null || :
	rmdir /etc/slipway/conf.d /etc/slipway 2>/dev/null || :
	;;
esac
exit 0
