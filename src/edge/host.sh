# What repoint does on the host of a PgBouncer, in one shell that waits there for as long as the
# session is open. Called as: sh -c 'eval "$(head -c "$1")"' repoint LENGTH FILE IN_PLACE,
# with this text first on standard input: so neither `ps` nor sudo's log is filled with it.
# Plain POSIX shell (and `test -ef`), with flock (util-linux) and coreutils 8.24.
#
# After the text comes a line with a secret. A request is a line TICKET VERB COUNT LENGTH BOOT UNTIL,
# then COUNT arguments of one line each, then LENGTH bytes of content. What changes anything does
# nothing after UNTIL, hundredths of a second of uptime since BOOT: whoever asked has given it up by
# then (`-`: it does not know the time here). The answer is what the verb prints, then
# a line TICKET STATUS, on standard output and on standard error alike. A ticket is the secret with
# a number that is used once: no content, and no file here, can look like a request or an end.
#
# Everything that changes the managed file happens under a lock file of its own that is never
# renamed: a lock on a file that is renamed is two locks (the second locker reads old content).
# Status: 0 done, 20 a newer generation is there, 21 the file is not the one that was read, 22 what
# arrived is damaged, 23 another agent holds the lock, 24 something cannot be written, 25 the staged
# file is gone, 26 another operation is on record, 27 it came too late,
# 28 that is not what was decided here.
set -u
umask 077
newline='
'
fail() { status=$1; shift; printf '%s\n' "$*" >&2; exit "$status"; }

# Few processes are started: on a busy host each of them takes its time, and some verbs run while
# clients are paused. So functions set variables, and the shell itself reads files of one line.
asked=$2
in_place=$3
file=

# Sets file, and where everything else is kept. A path that leads elsewhere since is followed.
find_file() {
    if [ -z "$file" ] || [ -L "$file" ] || ! [ "$asked" -ef "$file" ] 2>/dev/null; then
        file=$(readlink -f -- "$asked" 2>/dev/null)
        kept=
        if [ "$in_place" = yes ] && [ -n "$file" ]; then
            state=${XDG_STATE_HOME:-}
            case $state in /*) ;; *) state=${HOME:-}/.local/state ;; esac
            kept=$(printf %s "$file" | sha256sum)
            kept=$state/repoint/${kept%% *}/
        fi
    fi
    directory=${file%/*}/
    name=${file##*/}
    way=rename beside=$directory.$name.repoint- previous=$file.prev
    if [ -n "$kept" ] && ! [ -w "$directory" ]; then
        way=overwrite beside=$kept previous=$kept$name.prev
    fi
    lock=${beside}lock
    operation=${beside}operation
}
# Sets hash.
hash_of() {
    hash=absent
    if [ -e "$1" ]; then hash=$(sha256sum <"$1"); hash=${hash%% *}; fi
}
# Sets hash_staged and hash, with one process. (A name with a backslash has one before its hash.)
hash_both() {
    hash_staged=absent hash=absent
    if ! [ -e "$staged" ]; then
        hash_of "$file"
    elif ! [ -e "$file" ]; then
        hash_of "$staged"
        hash_staged=$hash hash=absent
    else
        both=$(sha256sum -- "$staged" "$file")
        hash_staged=${both%% *} hash_staged=${hash_staged#\\}
        hash=unreadable
        case $both in *"$newline"*) hash=${both##*"$newline"} ;; esac
        hash=${hash%% *} hash=${hash#\\}
    fi
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
not_writable() {
    fail 24 "cannot write in $directory as $(id -un): let that user write there, best by giving" \
        "the file a directory of its own; or set \`sudo\`, or \`in_place\`, in its [[pgbouncer]]"
}
take_lock() {
    if [ "$way" = rename ]; then
        [ -w "$directory" ] || not_writable
    else
        [ -w "$file" ] || not_writable
        [ -d "$kept" ] || mkdir -p -- "$kept" || fail 24 "cannot make $kept as $(id -un)"
    fi
    # Tried with a command first: a POSIX shell ends without a word when exec cannot open a file.
    { true >>"$lock"; } || fail 24 "cannot open $lock as $(id -un)"
    exec 9>>"$lock"
    # Only whoever holds the lock for longer than any step lasts makes another one give up.
    flock -w 3 9 || fail 23 "another agent holds $lock"
    [ "$until" = - ] && return
    time_now
    if [ "$boot" != "$until_boot" ] || [ "$hundredths" -ge "$until" ]; then
        fail 27 "it came too late, and was not done"
    fi
}
# Whether the operation that is on record is the one of this token. An empty record, as a power
# failure may leave it, is none.
ours() {
    owner=
    if [ -e "$operation" ]; then read -r owner rest <"$operation"; fi
    [ "$owner" = "$1" ]
}
# Whether the operation of TOKEN may take the place of what is on record: of what was read there, or
# of nothing. What somebody has put there since would be forgotten.
may_replace() { # TOKEN READ
    if ours "$1" || [ -z "$owner" ] || [ "$owner" = "$2" ]; then return; fi
    fail 26 "operation $owner is on record, not $2"
}
# One line: TOKEN BOOT_ID EXPIRES(seconds of uptime) JSON
record() {
    printf '%s %s %s %s\n' "$1" "$boot" "$((uptime + $2))" "$3" >"$operation.$1" &&
        mv -fT -- "$operation.$1" "$operation" && return
    rm -f -- "$operation.$1"
    fail 24 "cannot write $operation"
}
# The dead-man's switch of a pause: a process of its own (`$switch`), with nothing open of this one.
# It waits for the lock, and then goes by what is on record: so it is there whenever a record is,
# and until then the record before it has its own.
set_switch() { # TOKEN WAYS...; without a way there is none
    [ $# -gt 1 ] || return 0
    setsid sh -c "$switch" repoint-switch watch "$operation" "$lock" "$@" \
        </dev/null >/dev/null 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
}
guarded_record() { # TOKEN LEASE_SECONDS JSON WAYS...
    token=$1 lease=$2 debt=$3
    shift 3
    set_switch "$token" "$@"
    record "$token" "$lease" "$debt"
}
# The arguments are those of activate. With the record that is there already, its switch is.
record_again() {
    token=$1 lease=$7 debt=$8
    shift 10
    if ours "$token"; then set --; fi
    guarded_record "$token" "$lease" "$debt" "$@"
}
# Gives the staged file the mode and owner of the file that it will replace.
dress() {
    if ! [ -e "$file" ] || [ "$way" = overwrite ]; then return; fi
    both=$(stat -c %u:%g:%a -- "$file" "$staged")
    wanted=${both%%[!0-9:]*} found=${both##*[!0-9:]}
    [ "$wanted" = "$found" ] && return
    [ "${wanted%:*}" = "${found%:*}" ] || chown --reference="$file" -- "$staged" || return
    # After chown, which takes some bits of the mode away.
    chmod --reference="$file" -- "$staged"
}
# Removes what anybody had staged for the file as it was before.
unstage() {
    set -- "${beside}staged-"*
    if [ -e "$1" ]; then rm -f -- "$@"; fi
}
# The old file under a second name, then one rename: the file is whole at every moment. Neither is
# waited for to be on disk: after a power failure the name leads to the old file or to the new one,
# whose content was on disk when it was staged, and no client waits for the disk. The verb that
# always follows, update or settle, does wait.
put_by_rename() { # TOKEN
    if [ ! -e "$file" ]; then
        rm -f -- "$previous"
    elif ! ln -fT -- "$file" "$previous" 2>/dev/null; then
        cp -p -- "$file" "$previous.$1" && mv -fT -- "$previous.$1" "$previous" ||
            fail 24 "cannot keep $file as $previous"
    fi
    mv -fT -- "$staged" "$file" || fail 24 "cannot rename $staged to $file"
}
# Without emptying the file first: a reader then finds old bytes or new ones, never none, and a disk
# that has become full in between still has room for them.
overwrite() { # SOURCE SHA256
    cat -- "$1" 1<>"$file" && truncate -r "$1" -- "$file" && sync -- "$file" || return
    hash_of "$file"
    [ "$hash" = "$2" ]
}
overwrite_or_undo() { # SOURCE SHA256, and SHA256 of what is in $previous
    overwrite "$1" "$2" && return
    overwrite "$previous" "$3" ||
        fail 24 "cannot write $file, nor write back what it was; that is in $previous"
    fail 24 "cannot write $file; what it was is written back"
}
put_in_place() { # TOKEN SHA256_BEFORE SHA256
    cp -- "$file" "$previous.$1" && sync -- "$previous.$1" &&
        mv -fT -- "$previous.$1" "$previous" || {
        rm -f -- "$previous.$1"
        fail 24 "cannot keep $file as $previous"
    }
    overwrite_or_undo "$staged" "$3" "$2"
}

verb_inspect() {
    hash_of "$file"
    line=
    if [ -e "$operation" ]; then IFS= read -r line <"$operation"; fi
    writable=no
    if [ "$way" = overwrite ]; then
        if [ -w "$file" ] && mkdir -p -- "$kept" 2>/dev/null && [ -w "$kept" ]; then
            writable=yes
        fi
    elif [ -w "$directory" ]; then
        writable=yes
    fi
    printf 'boot %s\nuptime %s\npath %s\nhash %s\noperation %s\nwritable %s\ncontent\n' \
        "$boot" "$uptime" "$file" "$hash" "$line" "$writable"
    if [ -e "$file" ]; then cat -- "$file"; fi
}
# Runs a command with the content of the request on its standard input.
with_content() {
    head -c "$length" | {
        ("$@")
        received=$?
        # What was not taken, so that what comes next is the next request.
        cat >/dev/null
        exit "$received"
    }
}
verb_stage() { # WRITER SHA256 KEEP..., the new file as content
    with_content receive "$@"
}
receive() {
    take_lock
    staged=${beside}staged-$1-$2
    # Of the same writer, and of no use any more; KEEP are hashes.
    for other in "${beside}staged-$1-"*; do
        case " $* " in *" ${other##*-} "*) ;; *) rm -f -- "$other" ;; esac
    done
    cat >"$staged" || { rm -f -- "$staged"; fail 24 "cannot write $staged"; }
    hash_of "$staged"
    [ "$hash" = "$2" ] || { rm -f -- "$staged"; fail 22 "$staged is not what was sent"; }
    if [ ! -e "$file" ]; then
        chmod 0640 -- "$staged"
    elif ! dress; then
        rm -f -- "$staged"
        fail 24 "cannot give $staged the owner and mode of $file as $(id -un)"
    fi
    sync -- "$staged" || { rm -f -- "$staged"; fail 24 "cannot write $staged"; }
}
verb_can_undo() { # CANDIDATES...: see `$switch`
    # Without the lock: a console may take its time.
    timeout 4 sh -c "$switch" repoint-switch try "$@" || :
}
verb_record() { # READ TOKEN LEASE_SECONDS JSON WAYS...: what will be owed, in place of READ's
    take_lock
    may_replace "$2" "$1"
    shift
    guarded_record "$@"
}
verb_activate() { # TOKEN NUMBER NODE_ID HASH_READ SHA256 WRITER LEASE_SECONDS JSON READ LEDGER WAYS...
    take_lock
    staged=${beside}staged-$6-$5
    hash_both
    if [ "${10}" = ledger ]; then
        is_accepted "$2.$3"
    else
        generation_of "$file"
        if [ "$number" -gt "$2" ] || { [ "$number" -eq "$2" ] && [ "$node_id" -gt "$3" ]; }; then
            fail 20 "$file is of generation $number.$node_id"
        fi
    fi
    [ "$hash" = "$4" ] || fail 21 "$file is not the one that was read"
    [ "$hash_staged" = "$5" ] || fail 25 "$staged is gone or damaged"
    may_replace "$1" "$9"
    # It may have been staged long ago.
    dress || fail 24 "cannot give $staged the owner and mode of $file as $(id -un)"
    record_again "$@"
    if [ "$way" = rename ]; then put_by_rename "$1"; else put_in_place "$1" "$4" "$5"; fi
}
verb_rollback() { # TOKEN NUMBER NODE_ID SHA256: only what this operation itself put there
    take_lock
    generation_of "$file"
    [ "$number.$node_id" = "$2.$3" ] || fail 20 "$file is of generation $number.$node_id"
    hash_of "$file"
    [ "$hash" = "$4" ] || fail 21 "$file was changed since"
    if [ "$way" = overwrite ]; then
        hash_of "$previous"
        overwrite "$previous" "$hash" || fail 24 "cannot write $file; what it was is in $previous"
    elif [ -e "$previous" ]; then
        cp -p -- "$previous" "$previous.$1" && sync -- "$previous.$1" &&
            mv -fT -- "$previous.$1" "$file" || {
            rm -f -- "$previous.$1"
            fail 24 "cannot put $previous back as $file"
        }
    else
        rm -f -- "$file"
    fi
    sync_names
}
verb_update() { # TOKEN LEASE_SECONDS JSON: what is still owed of an operation of ours
    take_lock
    unstage
    if ours "$1"; then record "$1" "$2" "$3"; fi
    sync_names
}
verb_settle() { # TOKEN: nothing is owed
    take_lock
    unstage
    if ours "$1"; then rm -f -- "$operation"; fi
    sync_names
}
# What activate left to later. A disk may take its time, and nobody has to wait for the lock.
sync_names() {
    exec 9>&-
    if [ "$way" = rename ]; then sync -- "$directory"; fi
}

verb_exchange() { # TOKEN LEASE_SECONDS JSON EXPECTED: as record, if EXPECTED is on record
    take_lock
    owner=
    if [ -e "$operation" ]; then read -r owner rest <"$operation"; fi
    [ "${owner:-none}" = "$4" ] || fail 26 "operation ${owner:-none} is on record, not $4"
    record "$1" "$2" "$3" || fail 24 "cannot write $operation"
}
verb_stamp() { # NUMBER NODE_ID HASH_READ SHA256, the file with another first line as content
    with_content stamp "$@"
}
stamp() {
    [ "$way" = rename ] || fail 24 "a file that is written in place gets no number"
    staged=${beside}stamp-$$
    trap 'rm -f -- "$staged"' EXIT
    { cat >"$staged"; } 2>/dev/null || fail 24 "cannot write in $directory as $(id -un)"
    hash_of "$staged"
    [ "$hash" = "$4" ] || fail 22 "$staged is not what was sent"
    dress && sync -- "$staged" || fail 24 "cannot give $staged the owner and mode of $file"
    take_lock
    if [ -s "$operation" ]; then fail 26 "an operation is on record"; fi
    generation_of "$file"
    if [ "$number" -gt "$1" ] || { [ "$number" -eq "$1" ] && [ "$node_id" -gt "$2" ]; }; then
        fail 20 "$file is of generation $number.$node_id"
    fi
    hash_of "$file"
    [ "$hash" = "$3" ] || fail 21 "$file is not the one that was read"
    mv -fT -- "$staged" "$file" && sync -- "$directory"
}

# Sets ledger to the line that this host remembers of decisions; empty when there is none, or when
# it is nothing that was ever written here: then it is as if there were none.
read_ledger() {
    ledger=
    if [ -e "${beside}ledger" ]; then IFS= read -r ledger <"${beside}ledger"; fi
    case $ledger in
    'v1 '*[!0-9A-Za-z.\ -]*) ledger= ;;
    'v1 '*) ;;
    *) ledger= ;;
    esac
    if [ "${#ledger}" -gt 300 ]; then ledger=; fi
}
are_numbers() { # WORDS, of digits that every shell can compare
    for word; do
        case $word in '' | *[!0-9]*) return 1 ;; esac
        [ "${#word}" -le 18 ] || return
    done
}
# Whether the words of the ledger are what `core::ledger::line` reads as one that has accepted
# something: a torn line is no ledger, whatever stands at its beginning. Its fifth word is what it
# has accepted.
has_accepted() { # WORDS
    [ "$*" = "$ledger" ] && [ $# -eq 11 ] || return
    [ "$3 $4" = '- -' ] || are_numbers "$4" || return
    number=${2%%.*} node_id=${2#*.} accepted=${5%%.*} by=${5#*.}
    [ "$number.$node_id $accepted.$by" = "$2 $5" ] || return
    are_numbers "$number" "$node_id" "$accepted" "$by" "$6" "$8" "${10}" "${11}" || return
    for word in "$node_id" "$by" "$6"; do
        [ "$word" -le 4294967295 ] || return
    done
    case $7 in 0 | 1) ;; *) return 1 ;; esac
    [ "$number" -gt "$accepted" ] ||
        { [ "$number" -eq "$accepted" ] && [ "$node_id" -ge "$by" ]; }
}
is_accepted() { # NUMBER.NODE_ID
    read_ledger
    record=none
    # Only letters, digits, dots, blanks and hyphens are in it.
    # shellcheck disable=SC2086
    if has_accepted $ledger; then
        record=${ledger#* * * * }
        record=${record%% *}
    fi
    [ "$record" = "$1" ] || fail 28 "decision $record is in the ledger beside $file, not $1"
}
# Sets hundredths: of a second, since the host was started.
time_now() {
    read -r seconds rest </proc/uptime
    hundredths=${seconds%.*}${seconds#*.}
}
tell_ledger() { # VERDICT
    printf 'verdict %s\nboot %s\nuptime %s\nclock %s\nledger %s\n' \
        "$1" "$boot" "$hundredths" "$(date +%s)" "$ledger"
}
verb_ledger() {
    read_ledger
    time_now
    tell_ledger read
}
# The line is exchanged if it is still the one that was read, and before its time is over, which is
# looked at when nobody else can write any more. It is on disk before anybody is told.
verb_exchange_ledger() { # READ NEW BOOT HUNDREDTHS
    take_lock
    read_ledger
    time_now
    if [ "$boot" != "$3" ] || [ "$hundredths" -ge "$4" ]; then
        tell_ledger late
    elif [ "$ledger" != "$1" ]; then
        tell_ledger changed
    else
        printf '%s\n' "$2" >"${beside}ledger.new" && sync -- "${beside}ledger.new" &&
            mv -fT -- "${beside}ledger.new" "${beside}ledger" && sync -- "${beside%/*}" || {
            rm -f -- "${beside}ledger.new"
            fail 24 "cannot write ${beside}ledger"
        }
        ledger=$2
        tell_ledger done
    fi
}

run() {
    [ -n "$file" ] || fail 24 "no directory for $asked"
    case $verb in stage | stamp) ;; *) exec </dev/null ;; esac
    read -r boot </proc/sys/kernel/random/boot_id
    read -r uptime rest </proc/uptime
    uptime=${uptime%%.*}
    "verb_$verb" "$@"
}
IFS= read -r secret || exit
while IFS=' ' read -r ticket verb count length until_boot until; do
    case $ticket in
    "$secret"-*) ;;
    *)
        echo 'what came is no request' >&2
        exit 70
        ;;
    esac
    set --
    while [ "$count" -gt 0 ]; do
        IFS= read -r argument || exit
        set -- "$@" "$argument"
        count=$((count - 1))
    done
    status=0
    case $verb in
    ping) ;;
    inspect | stage | can_undo | record | activate | rollback | update | settle | \
        exchange | stamp | ledger | exchange_ledger)
        find_file
        # In a shell of its own: the lock and `fail` end with it.
        (run "$@")
        status=$?
        ;;
    *)
        printf 'unknown verb %s\n' "$verb" >&2
        status=64
        ;;
    esac
    printf '\n%s %s\n' "$ticket" "$status"
    printf '\n%s %s\n' "$ticket" "$status" >&2
done
