#!/bin/sh
# Before a removal, but not before an upgrade: dpkg says "remove", rpm 0.
set -e
case $1 in
  remove | 0) if [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then systemctl disable --now bpcc-bridge.service; fi ;;
esac
