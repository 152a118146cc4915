# What repoint does on the host of a PgBouncer. Called as: sh -c THIS repoint VERB FILE ARGUMENTS...
# Plain POSIX shell, with flock (util-linux) and sha256sum, mv -T, sync FILE (coreutils 8.24).
#
# Everything that changes the managed file happens under a lock file of its own that is never
# renamed: a lock on a file that is renamed is two locks (the second locker reads old content).
# Exit status: 0 done, 20 a newer generation is there, 21 the file is not the one that was read,
# 22 the staged file is damaged, 23 another agent holds the lock, 24 the directory is not writable.
set -u
umask 077
verb=$1
file=$(readlink -f -- "$2") || { echo "no directory for $2" >&2; exit 24; }
shift 2
directory=$(dirname -- "$file")
name=$(basename -- "$file")
lock=$directory/.$name.repoint-lock
operation=$directory/.$name.repoint-operation
previous=$file.prev

fail() { status=$1; shift; printf '%s\n' "$*" >&2; exit "$status"; }
boot() { cat /proc/sys/kernel/random/boot_id; }
uptime_s() { sed 's/[. ].*//' /proc/uptime; }
hash_of() { if [ -e "$1" ]; then sha256sum <"$1" | sed 's/ .*//'; else echo absent; fi; }
# "NUMBER NODE_ID" of the header, "0 0" without one.
generation_of() {
    found=
    [ -e "$1" ] && found=$(sed -n '1s/^;repoint v1 generation=\([0-9]\{1,18\}\)\.\([0-9]\{1,9\}\) .*$/\1 \2/p' "$1")
    echo "${found:-0 0}"
}
take_lock() {
    # Only whoever holds the lock for longer than any step lasts makes another one give up.
    # First in a subshell: a POSIX shell ends, without a word of ours, when exec cannot open a file.
    (: >>"$lock") 2>/dev/null || fail 24 "cannot write in $directory as $(id -un)"
    exec 9>>"$lock"
    flock -w 3 9 || fail 23 "another agent holds $lock"
}
# Whether the operation that is on record is the one of this token.
ours() { [ -e "$operation" ] && [ "$(sed -n '1s/ .*//p' "$operation")" = "$1" ]; }
# One line: TOKEN BOOT_ID EXPIRES(seconds of uptime) JSON
record() {
    printf '%s %s %s %s\n' "$1" "$(boot)" "$(($(uptime_s) + $2))" "$3" >"$operation.$1" &&
        mv -fT -- "$operation.$1" "$operation"
}

case $verb in
inspect)
    printf 'boot %s\nuptime %s\npath %s\nhash %s\n' "$(boot)" "$(uptime_s)" "$file" "$(hash_of "$file")"
    printf 'operation %s\n' "$([ -e "$operation" ] && head -n 1 -- "$operation")"
    if [ -w "$directory" ]; then echo 'writable yes'; else echo 'writable no'; fi
    echo content
    [ -e "$file" ] && cat -- "$file"
    exit 0
    ;;
stage) # TOKEN SHA256 LEASE_SECONDS JSON, the new file on standard input
    take_lock
    # Of those before this operation: their agents are gone or too late, and nobody else removes it.
    rm -f -- "$directory/.$name.repoint-staged-"*
    staged=$directory/.$name.repoint-staged-$1
    cat >"$staged" || fail 24 "cannot write $staged"
    [ "$(hash_of "$staged")" = "$2" ] || { rm -f -- "$staged"; fail 22 "$staged is not what was sent"; }
    if [ -e "$file" ]; then
        chmod --reference="$file" -- "$staged"
        [ "$(stat -c %u:%g -- "$file")" = "$(stat -c %u:%g -- "$staged")" ] ||
            chown --reference="$file" -- "$staged" ||
            { rm -f -- "$staged"; fail 24 "cannot give $staged the owner of $file"; }
    else
        chmod 0640 -- "$staged"
    fi
    sync -- "$staged" && record "$1" "$3" "$4"
    ;;
activate) # TOKEN NUMBER NODE_ID HASH_READ SHA256
    take_lock
    staged=$directory/.$name.repoint-staged-$1
    set -- "$@" $(generation_of "$file")
    [ "$(hash_of "$staged")" = "$5" ] || fail 22 "$staged is gone or damaged"
    if [ "$6" -gt "$2" ] || { [ "$6" -eq "$2" ] && [ "$7" -gt "$3" ]; }; then
        fail 20 "$file is of generation $6.$7"
    fi
    [ "$(hash_of "$file")" = "$4" ] || fail 21 "$file is not the one that was read"
    if [ -e "$file" ]; then
        # A copy under the old name's lock, then one rename: the file is whole at every moment.
        cp -p -- "$file" "$previous.$1" && mv -fT -- "$previous.$1" "$previous" || exit 24
    else
        rm -f -- "$previous"
    fi
    mv -fT -- "$staged" "$file" && sync -- "$file" "$directory"
    ;;
rollback) # TOKEN NUMBER NODE_ID SHA256: only what this operation itself put there
    take_lock
    [ "$(generation_of "$file")" = "$2 $3" ] || fail 20 "$file is of generation $(generation_of "$file")"
    [ "$(hash_of "$file")" = "$4" ] || fail 21 "$file was changed since"
    if [ -e "$previous" ]; then
        cp -p -- "$previous" "$previous.$1" && mv -fT -- "$previous.$1" "$file"
    else
        rm -f -- "$file"
    fi
    sync -- "$directory"
    ;;
record) # TOKEN LEASE_SECONDS JSON: what is still owed of an operation of ours
    take_lock
    if ours "$1"; then record "$1" "$2" "$3"; fi
    ;;
settle) # TOKEN: nothing is owed
    take_lock
    rm -f -- "$directory/.$name.repoint-staged-$1"
    if ours "$1"; then rm -f -- "$operation"; fi
    ;;
*)
    fail 64 "unknown verb $verb"
    ;;
esac
