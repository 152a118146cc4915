#!/bin/sh
# The other contestant of the benchmark: the procedure that repmgr's documentation gives for
# PgBouncer in BDR mode, written down anew. PAUSE everywhere; then, one PgBouncer after the other,
# render its file, copy it with rsync, RELOAD, RESUME.
#
# documented.sh CONNINFO FLEET SSH_CONFIG
#   CONNINFO  of the node that is to be served
#   FLEET     one PgBouncer a line: its name, its host for ssh, the port of its console, its file
#
# Two things are taken out of the conninfo, without which it would not work at all:
# `connect_timeout`, for which PgBouncer rejects the whole file, and `user`, with which every client
# would become repmgr, and PgBouncer before 1.23.1 ends with a FATAL at RELOAD.
set -eu
conninfo=$(printf '%s\n' "$1" | sed -E 's/ *(connect_timeout|user)=[^ ]*//g')
fleet=$2
ssh_config=$3
rendered=$(mktemp ./documented.XXXXXX)
trap 'rm -f "$rendered"' EXIT

console() { # PORT COMMAND
    psql -X -q -A -t -h 127.0.0.1 -p "$1" -U admin -d pgbouncer -c "$2" </dev/null
}

while read -r name host port file; do
    console "$port" PAUSE
done <"$fleet"

while read -r name host port file; do
    printf '[databases]\napp = %s application_name=pgb_%s\n' "$conninfo" "$name" >"$rendered"
    rsync -e "ssh -F $ssh_config" "$rendered" "$host:$file" </dev/null
    console "$port" RELOAD
    console "$port" RESUME
done <"$fleet"
