# What repoint does on the host of a PgBouncer. Called as: sh -c THIS repoint VERB FILE ARGUMENTS...
# Plain POSIX shell, with flock (util-linux) and sha256sum, mv -T, sync FILE (coreutils 8.24).
#
# Everything that changes the managed file happens under a lock file of its own that is never
# renamed: a lock on a file that is renamed is two locks (the second locker reads old content).
# Exit status: 0 done, 20 a newer generation is there, 21 the file is not the one that was read,
# 22 the staged file is damaged, 23 another agent holds the lock, 24 the directory is not writable.
set -u
umask 077
fail() { status=$1; shift; printf '%s\n' "$*" >&2; exit "$status"; }

# Few processes are started: on a busy host each of them takes its time, and some verbs run while
# clients are paused. So functions set variables, and the shell itself reads files of one line.
verb=$1
file=$(readlink -f -- "$2") || fail 24 "no directory for $2"
shift 2
directory=${file%/*}/
name=${file##*/}
lock=$directory.$name.repoint-lock
operation=$directory.$name.repoint-operation
previous=$file.prev
read -r boot </proc/sys/kernel/random/boot_id
read -r uptime rest </proc/uptime
uptime=${uptime%%.*}

# Sets hash.
hash_of() {
    hash=absent
    if [ -e "$1" ]; then hash=$(sha256sum <"$1"); hash=${hash%% *}; fi
}
# Sets number and node_id from the header; 0 and 0 without one.
generation_of() {
    line=
    if [ -e "$1" ]; then IFS= read -r line <"$1"; fi
    number=0 node_id=0
    case $line in
    ';repoint v1 generation='*)
        value=${line#;repoint v1 generation=}
        value=${value%% *}
        number=${value%%.*} node_id=${value#*.}
        # Eighteen digits are what every shell can compare.
        case $number$node_id in *[!0-9]* | '') number=0 node_id=0 ;; esac
        if [ "${#number}" -gt 18 ] || [ "${#node_id}" -gt 9 ]; then number=0 node_id=0; fi
        ;;
    esac
}
take_lock() {
    # Tried with a command first: a POSIX shell ends without a word when exec cannot open a file.
    { true >>"$lock"; } 2>/dev/null || fail 24 "cannot write in $directory as $(id -un)"
    exec 9>>"$lock"
    # Only whoever holds the lock for longer than any step lasts makes another one give up.
    flock -w 3 9 || fail 23 "another agent holds $lock"
}
# Whether the operation that is on record is the one of this token.
ours() {
    owner=
    if [ -e "$operation" ]; then read -r owner rest <"$operation"; fi
    [ "$owner" = "$1" ]
}
# One line: TOKEN BOOT_ID EXPIRES(seconds of uptime) JSON
record() {
    printf '%s %s %s %s\n' "$1" "$boot" "$((uptime + $2))" "$3" >"$operation.$1" &&
        mv -fT -- "$operation.$1" "$operation"
}
# Gives the staged file the mode and owner of the file that it will replace.
dress() {
    both=$(stat -c %u:%g:%a -- "$file" "$staged")
    wanted=${both%%[!0-9:]*} found=${both##*[!0-9:]}
    [ "$wanted" = "$found" ] && return
    chmod --reference="$file" -- "$staged" || return
    [ "${wanted%:*}" = "${found%:*}" ] || chown --reference="$file" -- "$staged"
}

case $verb in
inspect)
    hash_of "$file"
    line=
    if [ -e "$operation" ]; then IFS= read -r line <"$operation"; fi
    writable=no
    if [ -w "$directory" ]; then writable=yes; fi
    printf 'boot %s\nuptime %s\npath %s\nhash %s\noperation %s\nwritable %s\ncontent\n' \
        "$boot" "$uptime" "$file" "$hash" "$line" "$writable"
    if [ -e "$file" ]; then cat -- "$file"; fi
    ;;
stage) # TOKEN SHA256 LEASE_SECONDS JSON, the new file on standard input
    take_lock
    # Of those before this operation: their agents are gone or too late, and nobody else removes it.
    for staged in "$directory.$name.repoint-staged-"*; do
        if [ -e "$staged" ]; then rm -f -- "$staged"; fi
    done
    staged=$directory.$name.repoint-staged-$1
    cat >"$staged" || { rm -f -- "$staged"; fail 24 "cannot write $staged"; }
    hash_of "$staged"
    [ "$hash" = "$2" ] || { rm -f -- "$staged"; fail 22 "$staged is not what was sent"; }
    if [ ! -e "$file" ]; then
        chmod 0640 -- "$staged"
    elif ! dress; then
        rm -f -- "$staged"
        fail 24 "cannot give $staged the owner and mode of $file"
    fi
    sync -- "$staged" && record "$1" "$3" "$4"
    ;;
activate) # TOKEN NUMBER NODE_ID HASH_READ SHA256
    take_lock
    staged=$directory.$name.repoint-staged-$1
    hash_of "$staged"
    [ "$hash" = "$5" ] || fail 22 "$staged is gone or damaged"
    generation_of "$file"
    if [ "$number" -gt "$2" ] || { [ "$number" -eq "$2" ] && [ "$node_id" -gt "$3" ]; }; then
        fail 20 "$file is of generation $number.$node_id"
    fi
    hash_of "$file"
    [ "$hash" = "$4" ] || fail 21 "$file is not the one that was read"
    # The old file under a second name, then one rename: the file is whole at every moment.
    if [ ! -e "$file" ]; then
        rm -f -- "$previous"
    elif ! ln -fT -- "$file" "$previous" 2>/dev/null; then
        cp -p -- "$file" "$previous.$1" && mv -fT -- "$previous.$1" "$previous" ||
            fail 24 "cannot keep $file as $previous"
    fi
    mv -fT -- "$staged" "$file" && sync -- "$file" "$directory"
    ;;
rollback) # TOKEN NUMBER NODE_ID SHA256: only what this operation itself put there
    take_lock
    generation_of "$file"
    [ "$number.$node_id" = "$2.$3" ] || fail 20 "$file is of generation $number.$node_id"
    hash_of "$file"
    [ "$hash" = "$4" ] || fail 21 "$file was changed since"
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
    rm -f -- "$directory.$name.repoint-staged-$1"
    if ours "$1"; then rm -f -- "$operation"; fi
    ;;
*)
    fail 64 "unknown verb $verb"
    ;;
esac
