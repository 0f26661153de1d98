#!/bin/sh
# After an installation or an upgrade; the first start is left to who writes bridge.env. Below another root
# (DPKG_ROOT) nothing runs that is to be reloaded.
set -e
if [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl try-restart bpcc-bridge.service
fi
