# The dead-man's switch of a pause, on PgBouncer's own host. Called as: sh -c THIS repoint-switch
#   try CANDIDATE...               which of these ways leads to which console
#   watch OPERATION LOCK TOKEN WAY...  undo what TOKEN owes when its time is over
# A WAY is five words: TOOL HOST PORT USER SSLMODE (`-`: none), one way for each console. HOST is a
# socket's directory or an address. A CANDIDATE is seven: CONSOLE (a number), what `listen_port` and
# `unix_socket_dir` are in the SHOW CONFIG that is meant, HOST PORT USER SSLMODE.
#
# It belongs to no session and holds no descriptor of one: nothing that happens to ssh, sshd or the
# agent reaches it. It acts only while the record is its token's, under the lock without which no
# other operation can be recorded; a record that is gone is settled, and ends it.
# Whatever it is told is data: it reaches a console as an argument, never a shell.
set -uf
umask 077
cd /
# What psql would take from the session. ~/.pgpass and PGPASSFILE hold.
unset PGOPTIONS PGSERVICE PGHOSTADDR PGDATABASE PGCLIENTENCODING PGTARGETSESSIONATTRS PGSSLMODE

# What a redirect sets server_login_retry to (`core::worker::HASTY`).
hasty=0.02
# One command; a console answers at once.
patience=2
# After this many tries, a second apart, PgBouncer's query_wait_timeout (120 s) is over.
tries_max=120

# PgBouncer's protocol, as far as its console needs it: the start, simple queries, and their rows.
# A console that asks for a password is not for this.
# shellcheck disable=SC2016
speak='
use strict; use Socket;
my ($path, $user, @commands) = @ARGV;
socket(my $console, PF_UNIX, SOCK_STREAM, 0) or exit 1;
connect($console, pack_sockaddr_un($path)) or exit 1;
sub put { my ($bytes) = @_; (syswrite($console, $bytes) // 0) == length $bytes or exit 1 }
sub take {
    my ($count, $bytes) = (@_, "");
    while (length $bytes < $count) {
        sysread($console, $bytes, $count - length $bytes, length $bytes) or exit 1;
    }
    return $bytes;
}
sub answer {
    while (1) {
        my $type = take(1);
        my $body = take(unpack("N", take(4)) - 4);
        if ($type eq "R") { unpack("N", $body) == 0 or exit 1 }
        elsif ($type eq "T") {
            my $rest = substr $body, 2;
            my @names;
            while (length $rest) { my ($name) = unpack "Z*", $rest; push @names, $name;
                $rest = substr $rest, length($name) + 19 }
            print join("|", @names), "\n";
        }
        elsif ($type eq "D") {
            my ($at, @values) = (2);
            for (1 .. unpack "n", $body) {
                my $length = unpack "N", substr $body, $at, 4;
                $at += 4;
                if ($length == 0xffffffff) { push @values, ""; next }
                push @values, substr $body, $at, $length;
                $at += $length;
            }
            print join("|", @values), "\n";
        }
        elsif ($type eq "E") { $body =~ /(?:^|\0)M([^\0]*)/ and print "ERROR: $1\n" }
        elsif ($type eq "Z") { return }
    }
}
my $start = pack("N", 196608) . join("\0", "user", $user, "database", "pgbouncer", "", "");
put(pack("N", 4 + length $start) . $start);
answer();
for my $command (@commands) { put("Q" . pack("N", 5 + length $command) . "$command\0"); answer() }
'

# Prints what a console answers: for each command the names of its columns, then rows, as a|b|c, or
# an error.
console() { # TOOL HOST PORT USER SSLMODE COMMAND...
    tool=$1 host=$2 port=$3 user=$4 sslmode=$5
    shift 5
    case $tool in
    perl)
        timeout "$patience" perl -e "$speak" "$host/.s.PGSQL.$port" "$user" "$@" 9>&- 2>/dev/null
        ;;
    psql)
        for command in "$@"; do
            shift
            set -- "$@" -c "$command"
        done
        if [ "$sslmode" != - ]; then export PGSSLMODE="$sslmode"; fi
        PGCONNECT_TIMEOUT=$patience timeout "$patience" psql -X -w -q -A -F '|' -P footer=off \
            -h "$host" -p "$port" -U "$user" -d pgbouncer "$@" 9>&- 2>&1
        unset PGSSLMODE
        ;;
    esac
}

# Whether a way leads to the process that is meant, with the rights of an admin. The console's own
# database cannot be paused: to resume it changes nothing, and is refused to anybody else.
leads() { # LISTEN_PORT UNIX_SOCKET_DIR TOOL HOST PORT USER SSLMODE
    listens=$1 directory=$2
    shift 2
    command -v "$1" >/dev/null || return
    found=$(console "$@" 'SHOW CONFIG' 'RESUME "pgbouncer"')
    case $found in *'is not paused'*) ;; *) return 1 ;; esac
    is_in_force listen_port "$listens" && is_in_force unix_socket_dir "$directory"
}

# Whether this is a row of what SHOW CONFIG gave last.
is_in_force() { # KEY VALUE
    case "
$found" in *"
$1|$2|"*) ;; *) return 1 ;; esac
}

# Prints CONSOLE, the number of the candidate among all, and the tool.
try() {
    begun=$(now)
    number=0 last=
    # A switch that cannot be set on its own feet is none.
    command -v setsid >/dev/null && command -v timeout >/dev/null || return 0
    while [ $# -ge 7 ] && [ $(($(now) - begun)) -le "$patience" ]; do
        # perl first: it starts in a fraction of the time that Debian's wrapper of psql takes.
        tools='perl psql'
        case $4 in /*) ;; *) tools=psql ;; esac
        for tool in $tools; do
            if [ "$last" != "$1" ] && leads "$2" "$3" "$tool" "$4" "$5" "$6" "$7"; then
                printf '%s %s %s\n' "$1" "$number" "$tool"
                last=$1
            fi
        done
        number=$((number + 1))
        shift 7
    done
}

now() {
    read -r uptime rest </proc/uptime
    printf %s "${uptime%%.*}"
}

# Sets debt and expires; false when the record is not the one of the token.
owed() {
    owner=
    if [ -e "$operation" ]; then read -r owner boot expires debt <"$operation"; fi 2>/dev/null
    [ "$owner" = "$token" ] || return
    case $expires in '' | *[!0-9]*) return 1 ;; esac
}

# Sets paused to 1 or 0, for a database on a console, after a command; nothing is known when it is
# false. One that is not there is not paused.
look() { # DATABASE WAY [COMMAND]
    database=$1
    shift
    rows=$(console "$@" 'SHOW DATABASES') || return
    column=0 paused=0
    while IFS='|' read -r name rest; do
        place=1
        while [ -n "$rest" ]; do
            place=$((place + 1))
            field=${rest%%|*}
            if [ "$name $field $column" = 'name paused 0' ]; then column=$place; fi
            if [ "$name" = "$database" ] && [ $place -eq $column ]; then paused=$field; fi
            case $rest in *'|'*) rest=${rest#*|} ;; *) rest= ;; esac
        done
    done <<END
$rows
END
    [ $column -ne 0 ]
}

# Ends the pauses. A process that does not answer does not keep the others from it.
resume() { # NAMES WAYS...
    wanted=$1 resumed=0
    shift
    while [ $# -ge 5 ]; do
        resume_at "$wanted" "$1" "$2" "$3" "$4" "$5" || resumed=1
        shift 5
    done
    return "$resumed"
}
resume_at() { # NAMES WAY
    left=$1
    shift
    while [ -n "$left" ]; do
        entry=${left%%,*}
        case $left in *,*) left=${left#*,} ;; *) left= ;; esac
        entry=${entry#\"} entry=${entry%\"}
        look "$entry" "$@" || return
        if [ "$paused" != 0 ]; then
            # Its answer is no proof; and a look that came later might see another one's pause.
            look "$entry" "$@" "RESUME \"$entry\"" || return
            [ "$paused" = 0 ] || return
        fi
    done
}

# Whether the value of a redirect is in force on some console: 0 yes, 1 no, 2 not known, because one
# does not answer.
is_hasty() { # WAYS...
    while [ $# -ge 5 ]; do
        found=$(console "$1" "$2" "$3" "$4" "$5" 'SHOW CONFIG')
        case $found in
        *"server_login_retry|$hasty|"*) return ;;
        *'server_login_retry|'*) ;;
        *) return 2 ;;
        esac
        shift 5
    done
    return 1
}

# Whether it is in force on none of them; not without an answer.
is_calm() { # WAYS...
    is_hasty "$@"
    [ $? -eq 1 ]
}

# Sets again what is on record of settings, where the sign of a redirect tells that it was undone;
# server_login_retry, which is that sign, last, and only when it is the last time. False: it is not
# known to be done.
set_again() { # WHETHER_LAST WAYS...
    whether_last=$1 first= others="$settings},{"
    shift
    [ -n "$settings" ] || return 0
    while [ $# -ge 5 ] && [ -n "$others" ]; do
        # Each process has what differs from the first.
        own=${others%%'},{'*}
        others=${others#*'},{'}
        if [ -z "$first" ]; then first=$own; fi
        if ! is_calm "$1" "$2" "$3" "$4" "$5"; then
            is_in_force server_login_retry "$hasty" || return
            set_again_at "$1" "$2" "$3" "$4" "$5" || return
            case "$whether_last $value" in no* | 'yes ' | "yes $hasty") ;; *)
                is_calm "$1" "$2" "$3" "$4" "$5" || return
                ;;
            esac
        fi
        shift 5
    done
}

# Goes by what SHOW CONFIG gave last.
set_again_at() { # WAY
    value= seen= pairs=$own,
    if [ "$own" != "$first" ]; then pairs=$pairs$first,; fi
    while [ -n "$pairs" ]; do
        # Each is "KEY":"VALUE", and a comma; the process's own come first, and hold.
        case $pairs in
        ,*) pairs=${pairs#,} && continue ;;
        '"'*'":"'*'",'*) ;;
        *) return 1 ;;
        esac
        pairs=${pairs#'"'}
        key=${pairs%%'"'*}
        pairs=${pairs#*'":"'}
        wanted=${pairs%%'"'*}
        pairs=${pairs#*'"'}
        case $key in '' | *[!0-9a-z_]*) return 1 ;; esac
        case " $seen " in *" $key "*) continue ;; esac
        seen="$seen $key"
        if [ "$key" = server_login_retry ]; then
            value=$wanted
        elif ! is_in_force "$key" "$wanted"; then
            set -- "$@" "SET $key='$wanted'"
        fi
    done
    if [ "$whether_last" = yes ] && [ -n "$value" ]; then
        set -- "$@" "SET server_login_retry='$value'"
    fi
    if [ $# -gt 5 ]; then console "$@" >/dev/null; fi
}

rewrite() { # EXPIRES DEBT
    printf '%s %s %s %s\n' "$token" "$boot" "$1" "$2" >"$operation.$token" &&
        mv -fT -- "$operation.$token" "$operation"
}

# Pays what is on record; false: something is left that another try may pay.
pay() { # WAYS...
    names= value= settings=
    case $debt in *'"paused":['*)
        names=${debt#*'"paused":['}
        names=${names%%']'*}
        ;;
    esac
    case $debt in *'"settings":[{'*'}]'*)
        settings=${debt#*'"settings":[{'}
        settings=${settings%'}]'*}
        value=${settings#*'"server_login_retry":"'}
        value=${value%%'"'*}
        ;;
    esac
    # Names of entries and lengths of time have nothing else in them (the configuration sees to it);
    # whatever has is left to an agent.
    case $names in *[!0-9A-Za-z_.,\"-]*) return ;; esac
    case $value in *[!0-9.]*) return ;; esac
    resume "$names" "$@" || return
    # Nor is a value unquoted here, or of a form that is not known.
    known='{"paused":['$names']'
    if [ -n "$settings" ]; then known="$known,\"settings\":[{$settings}]"; fi
    case $settings in *[\\\']*) known= ;; esac
    if [ -n "$names" ]; then
        # From here on, a pause of the same entries is somebody else's.
        debt=${debt%%'"paused":['*}'"paused":[]'${debt#*'"paused":['"$names"']'}
        if [ -n "$known" ]; then known='{"paused":[]'${known#*'"paused":['"$names"']'}; fi
        expires=$(now)
        # Each pool that failed to connect would wait for the old length: the value is set again
        # when that has passed; what an operator had SET, at once.
        length=${value%%.*}
        if [ -n "$value" ] && ! is_calm "$@"; then expires=$((expires + ${length:-0} + 2)); fi
        rewrite "$expires" "$debt" || return
        if [ "$debt" = "$known}" ]; then set_again no "$@" || return; fi
        is_over || return
    fi
    # More is owed than this understands: it is left on record for an agent.
    if [ "$debt" != "$known}" ]; then
        tries=$tries_max
        return
    fi
    set_again yes "$@" && rm -f -- "$operation"
}

is_over() { [ "$(now)" -ge "$expires" ]; }

undo() { # WAYS...
    { true >>"$lock"; } 2>/dev/null || return
    exec 9>>"$lock"
    if flock -w "$patience" 9 && owed && is_over; then pay "$@"; fi
    exec 9>&-
}

# Until the next whole second of uptime, by which records expire.
rest_a_second() {
    read -r uptime rest </proc/uptime
    left=$((200 - 1${uptime#*.}))
    case $left in 100) left=1 ;; ?) left=0.0$left ;; *) left=0.$left ;; esac
    sleep "$left" 2>/dev/null || sleep 1
}

watch() {
    operation=$1 lock=$2 token=$3
    shift 3
    tries=0
    # Whoever sets it holds the lock until the record is written.
    { true >>"$lock"; } 2>/dev/null || return
    exec 9>>"$lock"
    flock -w "$patience" 9
    exec 9>&-
    while [ "$tries" -lt "$tries_max" ] && owed; do
        if is_over; then
            tries=$((tries + 1))
            undo "$@"
        fi
        rest_a_second
    done
}

verb=$1
shift
case $verb in
try) try "$@" ;;
watch) watch "$@" ;;
esac
