#!/usr/bin/env bats
# shellcheck disable=SC2016,SC2030,SC2031,SC2154 # code for other shells; $stderr is from run
# 00 · Your machine: what it says is what others say, and when something is
# taken away it says so, with the reason, and goes on.

load ../../common/test/helpers

# It asks every program beside it. A few will do, of each kind.
setup() {
    FILE=$(make_file $((4 * PAGE)))
    ALL=$BIN BIN=$BATS_TEST_TMPDIR/bin
    mkdir "$BIN"
    few=("$ALL"/{00,01,08,12,15,20}-*)
    ln "${few[@]}" "$BIN" 2>/dev/null || cp "${few[@]}" "$BIN"
    ME=$BIN/00-your-machine
}

# section NAME: cut the output down to the part under this heading.
section() {
    output=$(sed -n "/^$1\$/,/^\$/p" <<<"$output")
    mapfile -t lines <<<"$output"
}

# joined: undo the line breaks of long values.
joined() {
    output=$(perl -0pe 's/\n {4}/ /g' <<<"$output")
    mapfile -t lines <<<"$output"
}

# with CALL ERROR [ARGUMENTS]: run it with this call failing, also in the
# chapters that it asks.
with() {
    run -0 --separate-stderr strace -f -o "$BATS_TEST_TMPDIR/log" \
        -e signal=none -e trace="$1" -e inject="$1:error=$2" "$ME" "$FILE" "${@:3}"
    assert_equal "$stderr" ''
    joined
}

# chapters: the programs beside it, in order.
chapters() { programs | grep -v '^00-'; }

# without_uring WHY: are just the chapters from 12 to 19 missing, and for this?
# 20 goes on without its rings. What the others lack, they lack with io_uring.
without_uring() {
    section Chapters
    local why
    for chapter in $(chapters); do
        case $chapter in
            1[2-9]-*)
                assert_line --regexp "^$chapter: missing: .*$1"
                ;;
            *)
                if why=$("$BIN/$chapter" --check 2>&1); then
                    assert_line "$chapter: ready"
                else
                    assert_line "$chapter: missing: ${why#"$chapter: "}"
                fi
                ;;
        esac
    done
}

# --- What others say, too ------------------------------------------------------

@test "the kernel: uname and /proc" {
    run -0 --separate-stderr "$ME" "$FILE"
    assert_equal "$(fact release)" "$(uname -r) ($(uname -m))"
    case $(sed -n 's/^Seccomp:[[:space:]]*//p' /proc/self/status) in
        0) assert_equal "$(fact 'seccomp filter')" none ;;
        2) assert_regex "$(fact 'seccomp filter')" '^in force' ;;
    esac
    assert_equal "$stderr" ''
}

@test "liburing: pkg-config, and the file that the loader takes" {
    command -v pkg-config >/dev/null || skip 'pkg-config is not installed'
    run -0 "$ME" "$FILE"
    local version library
    version=$(pkg-config --modversion liburing)
    assert_equal "$(fact 'liburing compiled')" "$version"
    library=$(ldd "$ME" | sed -n 's/.*liburing.* => \([^ ]*\).*/\1/p')
    [[ $library ]] || skip 'liburing is linked statically'
    if [[ $version == 2.3 ]]; then
        assert_equal "$(fact 'liburing running')" \
            "older than 2.4, from the file $(basename "$(readlink -f "$library")")"
    else
        assert_equal "$(fact 'liburing running')" "$version"
    fi
}

# raw_setup: the io_uring_setup() calls of a run, all numbers in hexadecimal.
raw_setup() {
    need_strace
    strace -X raw -o "$BATS_TEST_TMPDIR/raw" -e signal=none \
        -e trace=io_uring_setup "$@" \
        "$ME" "$FILE"
}

@test "io_uring: strace shows the same features and flags" {
    need_uring
    run -0 raw_setup
    joined
    assert_equal "$(fact 'set up')" works

    # The first ring is for the features: as many names as bits. From the
    # kernel's header, some to see that the names stand in the right places.
    local bits names bit
    bits=$(sed -n '1s/.*features=\(0x[0-9a-f]*\).*/\1/p' "$BATS_TEST_TMPDIR/raw")
    names=$(fact features)
    for bit in 0:SINGLE_MMAP 1:NODROP 5:FAST_POLL 8:EXT_ARG 12:LINKED_FILE \
        13:REG_REG_RING 17:NO_IOWAIT; do
        if ((bits >> ${bit%:*} & 1)); then
            assert_regex " $names " " ${bit#*:} "
        else
            refute_regex " $names " " ${bit#*:} "
        fi
    done
    ((bits >> 18)) || assert_equal "$(wc -w <<<"$names")" \
        "$(perl -e 'print unpack("%32b*", pack("L", hex shift))' "$bits")"

    # The others each have a flag, and it is there if there was a ring with it.
    local flag
    for flag in 0x8:CQSIZE 0x1:IOPOLL 0x2:SQPOLL 0x80:SUBMIT_ALL \
        0x100:COOP_TASKRUN 0x1000:SINGLE_ISSUER 0x3000:DEFER_TASKRUN; do
        if grep "flags=${flag%:*}," "$BATS_TEST_TMPDIR/raw" | grep -qv '= -1'; then
            assert_regex " $(fact 'set-up flags') " " ${flag#*:} "
        else
            assert_regex " $(fact 'set-up flags missing') " " ${flag#*:} "
        fi
    done
}

@test "every ring is given back" {
    need_uring
    need_strace
    strace_calls io_uring_setup,close "$ME" "$FILE"
    assert_equal "$(count_calls close 'anon_inode:[io_uring]')" \
        "$(calls io_uring_setup | grep -cv '= -1')"
}

@test "a feature bit that nobody knows is shown as a number" {
    need_uring
    run -0 raw_setup
    [[ $(printf '\1\0' | od -An -d) =~ ^\ *1$ ]] || skip 'not a little-endian machine'
    local bits
    bits=$(sed -n '1s/.*features=\(0x[0-9a-f]*\).*/\1/p' "$BATS_TEST_TMPDIR/raw")
    # strace writes into struct io_uring_params on the way back: 4 and 8
    # entries, three numbers that are 0, then the features and one bit more.
    bits=$(perl -e 'print unpack "H*", pack "L<6", 4, 8, 0, 0, 0, hex(shift) | 1 << 30' \
        "$bits")
    run -0 raw_setup -e inject=io_uring_setup:poke_exit=@arg2="$bits":when=1
    joined
    assert_regex "$(fact features)" ' and 0x40000000, newer than this program$'
}

@test "the limits: ulimit and /proc" {
    run -0 "$ME" "$FILE"
    local limit
    limit=$(ulimit -S -l)
    [[ $limit == unlimited ]] || limit="$limit KiB"
    assert_equal "$(fact 'memlock limit')" "$limit"
    assert_equal "$(fact aio-max-nr)" "$(</proc/sys/fs/aio-max-nr)"
    assert_regex "$(fact aio-nr)" '^[0-9]+$'

    ulimit -S -l 60
    run -0 "$ME" "$FILE"
    assert_equal "$(fact 'memlock limit')" '60 KiB'
}

@test "Linux AIO: strace sees the poll and the sync, and their results" {
    need_aio
    need_strace
    strace_calls io_submit,io_getevents "$ME" "$FILE"
    section 'Linux AIO'
    assert_line 'set up: works'
    assert_line 'poll request: works'
    assert_line 'fsync request: works'
    calls io_submit | grep -q 'IOCB_CMD_POLL.*= 1$'
    calls io_submit | grep -q 'IOCB_CMD_FSYNC.*= 1$'
    assert_equal "$(calls io_getevents 'res=1,' | wc -l)" 1 # POLLIN
    assert_equal "$(calls io_getevents 'res=0,' | wc -l)" 1
}

@test "the file system: stat -f" {
    run -0 "$ME" "$FILE"
    assert_equal "$(fact name)" "$(basename "$FILE")"
    local name
    name=$(stat -f -c %T "$FILE")
    case $name in
        ext2/ext3) name=ext4 ;;
        v9fs) name=9p ;;
        fuseblk) name=fuse ;;
        overlayfs) name=overlay ;;
    esac
    assert_regex "$(fact 'file system')" "^($name|number 0x$(stat -f -c %t "$FILE")$)"
}

@test "a file system without a name is shown with its number" {
    local odd=/sys/kernel/mm/transparent_hugepage/enabled
    [[ -e $odd ]] || skip '/sys is not mounted, or has no such file'
    run -0 "$ME" $odd
    assert_equal "$(fact 'file system')" "number 0x$(stat -f -c %t /sys)"
}

@test "O_DIRECT: dd agrees" {
    run -0 "$ME" "$FILE"
    joined
    if dd if="$FILE" of=/dev/null bs="$PAGE" count=1 iflag=direct 2>/dev/null; then
        refute_regex "$(fact O_DIRECT)" '^no'
    else
        assert_regex "$(fact O_DIRECT)" '^no'
    fi
}

@test "the alignment is what statx tells, and what a read must keep to" {
    need_strace
    strace_calls statx "$ME" "$FILE"
    joined
    local alignment
    alignment=$(fact alignment)
    [[ $alignment =~ ^memory\ ([0-9]+)\ bytes,\ offset\ and\ length\ ([0-9]+)$ ]] ||
        skip "no alignment here: $alignment"
    calls statx | grep -q STATX_DIOALIGN
    # Half of it is not enough, and the whole is. (ext4 falls back to a
    # buffered read for some, so only the second is certain.)
    dd if="$FILE" of=/dev/null bs="${BASH_REMATCH[2]}" skip=1 count=1 \
        iflag=direct
}

@test "processors: nproc, and taskset" {
    run -0 "$ME" "$FILE"
    assert_equal "$(fact allowed)" "$(env -u OMP_NUM_THREADS nproc)"
    assert_equal "$(fact online)" "$(getconf _NPROCESSORS_ONLN)"

    local first
    first=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*\([0-9]*\).*/\1/p' \
        /proc/self/status)
    run -0 taskset -c "$first" "$ME" "$FILE"
    assert_equal "$(fact allowed)" 1
    assert_equal "$(fact online)" "$(getconf _NPROCESSORS_ONLN)"
}

@test "terminal and locale" {
    run -0 "$ME" "$FILE"
    assert_equal "$(fact stdout)" 'not a terminal'
    assert_equal "$(fact colors)" no
    assert_equal "$(fact locale)" 'C.UTF-8, UTF-8: bars in Unicode blocks'

    LC_ALL=C run -0 "$ME" "$FILE"
    assert_equal "$(fact locale)" 'C, ANSI_X3.4-1968: bars in ASCII'

    local on_terminal="stty columns 97; TERM=xterm ${ME@Q} ${FILE@Q}"
    run -0 env -u NO_COLOR script -q -e -c "$on_terminal" /dev/null
    output=${output//$'\r'/}
    assert_equal "$(fact stdout)" 'a terminal with 97 columns'
    assert_equal "$(fact colors)" yes

    run -0 script -q -e -c "$on_terminal" /dev/null # NO_COLOR is set.
    output=${output//$'\r'/}
    assert_equal "$(fact colors)" no
}

@test "no line is wider than 80 columns" {
    run -0 "$ME" "$FILE"
    refute_output --regexp $'(^|\n)[^\n]{81}'
}

# --- Pages --------------------------------------------------------------------

@test "a page is brought in and dropped, and O_DIRECT leaves it out" {
    need_cold
    need_strace
    strace_calls pread64,fadvise64,mincore,openat "$ME" "$FILE"
    assert_equal "$(fact 'pages can be dropped')" yes
    # Read, look, drop, look: in this order, and on this file.
    local order
    order=$(grep -oE '(pread64\([0-9]+<[^>]*/sample-|fadvise64.*DONTNEED|mincore)' \
        "$STRACE_LOG" | sed -E 's/[(<].*//' | tr '\n' ' ')
    assert_regex "$order" '^pread64 mincore fadvise64 mincore fadvise64 mincore pread64 mincore'
    calls openat "$FILE" | grep -q O_DIRECT
}

@test "on tmpfs pages can't be dropped" {
    [[ $(stat -f -c %T /dev/shm 2>/dev/null) == tmpfs && -w /dev/shm ]] ||
        skip '/dev/shm is no tmpfs to write to'
    local file
    file=$(mktemp /dev/shm/your-machine.XXXXXX)
    head -c "$PAGE" "$FILE" >"$file"
    run "$ME" "$file"
    rm "$file"
    assert_success
    joined
    assert_regex "$(fact 'file system')" '^tmpfs'
    assert_regex "$(fact 'pages can be dropped')" '^no: this one stayed'
    refute_regex "$(fact O_DIRECT)" '^works'
}

@test "who may not know is told so" {
    [[ $(id -u) == 0 ]] || skip 'only root can become somebody else'
    command -v setpriv >/dev/null || skip 'setpriv is not installed'
    # Folders above may keep others out: there is always one that lets them in.
    local as_nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    local me=$ALL/00-your-machine # What is below the scratch folder is closed to others.
    "${as_nobody[@]}" test -x "$me" -a -r /etc/passwd ||
        skip 'the build tree is closed to others'
    run -0 "${as_nobody[@]}" "$me" /etc/passwd
    joined
    assert_regex "$(fact 'pages can be dropped')" '^unknown: '
}

@test "a file must be there, unless it is the sample" {
    run -1 --separate-stderr "$ME" "$FILE.missing"
    assert_equal "$stderr" \
        "00-your-machine: opening $FILE.missing: No such file or directory"
    assert_equal "$output" ''

    need_strace
    run -0 strace -o /dev/null -P "$BUILD/sample.data" \
        -e inject='?access,?faccessat,?faccessat2:error=ENOENT' "$ME"
    section File
    joined
    assert_line --regexp '^name: no sample file yet; .* makes it$'
}

# --- The chapters ---------------------------------------------------------------

@test "each chapter beside it has a line, in order, and says itself what it says" {
    BIN=$ALL
    run -0 "$BIN/00-your-machine" "$FILE"
    section Chapters
    assert_equal "$(sed -n 's/^\([0-9][0-9]-[^:]*\):.*/\1/p' <<<"$output")" \
        "$(chapters)"
    joined
    local chapter why
    for chapter in $(chapters); do
        if why=$("$BIN/$chapter" --check 2>&1 >/dev/null); then
            assert_line "$chapter: ready"
        else
            why=${why%%$'\n'*}
            assert_line "$chapter: missing: ${why#"$chapter: "}"
        fi
    done
}

@test "whatever a chapter does, its line says it" {
    local there=$BATS_TEST_TMPDIR/"other place"
    mkdir "$there"
    cp "$ME" "$there"
    run -0 "$there/00-your-machine" "$FILE"
    assert_line 'none is built beside this program; ./tour builds them'

    chapter() {
        printf '#!/bin/sh\n%s\n' "$2" >"$there/$1"
        chmod +x "$there/$1"
    }
    chapter 02-fine 'echo much; [ "$1" = --check ]'
    chapter 03-absent 'echo "$(basename "$0"): no such thing
and a second line" >&2; exit 77'
    chapter 04-broken 'echo "04-broken: it broke: badly" >&2; exit 1'
    chapter 05-killed 'kill -KILL $$'
    chapter 06-talks 'i=0; while [ $i -lt 3000 ]; do
echo "06-talks: a line that is longer than a pipe is deep, with others" >&2
i=$((i + 1)); done; exit 77'
    echo 'no program' >"$there/07-data"
    chapter other 'exit 1'
    chapter 123-no 'exit 1'
    run -0 --separate-stderr "$there/00-your-machine" "$FILE"
    assert_equal "$stderr" ''
    section Chapters
    assert_output "Chapters
02-fine: ready
03-absent: missing: no such thing
04-broken: failed: it broke: badly
05-killed: failed: Killed
06-talks: missing: a line that is longer than a pipe is deep, with others
07-data: failed: running it: Permission denied"
}

# --- Taken away -----------------------------------------------------------------

@test "EPERM from io_uring_setup: says why, and which chapters it takes" {
    need_uring
    need_strace
    with io_uring_setup EPERM
    assert_regex "$(fact 'set up' 1)" \
        '^no: Operation not permitted: .*(seccomp|io_uring_disabled|policy)'
    assert_equal "$(fact 'set up' 2)" works # Linux AIO
    refute_line --regexp '^(features|opcodes|set-up flags)'
    without_uring 'Operation not permitted'
}

@test "ENOSYS from io_uring_setup: says why, and which chapters it takes" {
    need_uring
    need_strace
    with io_uring_setup ENOSYS
    assert_regex "$(fact 'set up' 1)" '^no: Function not implemented: .*WSL 2'
    without_uring 'Function not implemented'
}

@test "kernel.io_uring_disabled is named, with its value" {
    need_strace
    [[ -e /proc/sys/kernel/io_uring_disabled ]] ||
        skip 'this kernel has no kernel.io_uring_disabled'
    # The real switch is for the whole machine. Another file in its place, seen
    # by this process alone, does as well.
    echo 2 >"$BATS_TEST_TMPDIR/disabled"
    cover() {
        unshare --mount sh -c 'mount --bind "$0" \
            /proc/sys/kernel/io_uring_disabled && exec "$@"' \
            "$BATS_TEST_TMPDIR/disabled" "$@"
    }
    cover true 2>/dev/null || skip 'we may not mount'
    run -0 cover strace -f -o /dev/null \
        -e inject=io_uring_setup:error=EPERM "$ME" "$FILE"
    joined
    assert_regex "$(fact 'set up' 1)" 'kernel.io_uring_disabled is 2: '
    without_uring 'kernel.io_uring_disabled is 2'
}

@test "a real seccomp filter is seen, and what it takes away is missing" {
    need_uring
    # perl is enough to install one: of all calls, it refuses io_uring_setup,
    # which is number 425 on every machine. prctl(2) is not.
    local prctl
    case $(uname -m) in
        x86_64) prctl=157 ;;
        aarch64 | riscv64) prctl=167 ;;
        *) skip "the number of prctl on $(uname -m) is not known here" ;;
    esac
    run -0 --separate-stderr perl -e '
        my ($prctl, @command) = @ARGV;
        my $filter = pack("(SCCL)4",
            0x20, 0, 0, 0,             # load the number of the call
            0x15, 0, 1, 425,           # not io_uring_setup: skip one
            0x06, 0, 0, 0x00050001,    # return SECCOMP_RET_ERRNO | EPERM
            0x06, 0, 0, 0x7fff0000);   # return SECCOMP_RET_ALLOW
        my $program = pack("S x![P] P", 4, $filter);
        syscall($prctl, 38, 1, 0, 0, 0) == 0 or die "no_new_privs: $!\n";
        syscall($prctl, 22, 2, $program, 0, 0) == 0 or die "seccomp: $!\n";
        exec @command;' "$prctl" "$ME" "$FILE"
    joined
    assert_regex "$(fact 'seccomp filter')" '^in force'
    assert_regex "$(fact 'set up' 1)" '^no: .*a seccomp filter refuses it'
    without_uring 'a seccomp filter refuses it'
}

@test "one flag that is refused is missing, the others are not" {
    need_uring
    need_strace
    # The fourth ring is the one with SQPOLL: the first is for the features.
    run -0 strace -o "$BATS_TEST_TMPDIR/log" -e trace=io_uring_setup \
        -e inject=io_uring_setup:error=EPERM:when=4 "$ME" "$FILE"
    grep 'INJECTED' "$BATS_TEST_TMPDIR/log" | grep -q SQPOLL
    joined
    assert_line --regexp \
        '^set-up flags missing: SQPOLL \(Operation not permitted\)'
    assert_regex "$(fact 'set-up flags')" '^CQSIZE IOPOLL SUBMIT_ALL'

    run -0 strace -o /dev/null -e inject=io_uring_setup:error=EINVAL:when=8 \
        "$ME" "$FILE"
    assert_regex "$(fact 'set-up flags missing')" 'DEFER_TASKRUN \(Linux 6.1\)$'
}

@test "a filter that kills: 00 lives, and names the call; so do the chapters' lines" {
    need_uring
    need_aio
    cc -o "$BATS_TEST_TMPDIR/filter" "$ROOT/common/test/filter.c"
    "$BATS_TEST_TMPDIR/filter" io_setup EPERM true 2>/dev/null ||
        skip 'no seccomp filter here'
    for call in io_uring_setup io_uring_enter io_submit; do
        run -0 --separate-stderr "$BATS_TEST_TMPDIR/filter" "$call" kill "$ME" "$FILE"
        assert_equal "$stderr" ''
        joined
        case $call in
            io_uring_*) which=1 chapter=12-uring-setup ;;
            *) which=2 chapter=08-io-submit ;;
        esac
        assert_regex "$(fact 'set up' $which)" \
            "^no: a seccomp filter kills whoever calls $call\(\) \(SIGSYS\)\. .*unconfined"
        assert_equal "$(fact 'set up' $((3 - which)))" works
        assert_line "$chapter: missing: a seccomp filter kills it (SIGSYS)"
        assert_line '01-blocking-read: ready'
    done
}

@test "a filter with a hole: what can be set up and not entered is missing" {
    need_uring
    cc -o "$BATS_TEST_TMPDIR/filter" "$ROOT/common/test/filter.c"
    "$BATS_TEST_TMPDIR/filter" io_setup EPERM true 2>/dev/null ||
        skip 'no seccomp filter here'
    run -0 --separate-stderr "$BATS_TEST_TMPDIR/filter" io_uring_enter EPERM \
        "$ME" "$FILE"
    joined
    assert_equal "$(fact 'set up' 1)" works
    assert_regex "$(fact enter)" '^no: .*a seccomp filter refuses it'
    without_uring 'a seccomp filter refuses it'
}

@test "a set-up flag without memory is tried again, and else called not tried" {
    need_uring
    need_strace
    run -0 strace -o /dev/null -e inject=io_uring_setup:error=ENOMEM:when=4..6 \
        "$ME" "$FILE"
    joined
    refute_line --regexp '^set-up flags (missing|not tried)'
    run -0 strace -o /dev/null -e inject=io_uring_setup:error=ENOMEM:when=4+ \
        "$ME" "$FILE"
    joined
    refute_line --regexp '^set-up flags missing'
    assert_line --regexp \
        '^set-up flags not tried: SQPOLL .*DEFER_TASKRUN: Cannot allocate memory; see ulimit -l'
}

@test "a kernel without the probe still shows the rest" {
    need_uring
    need_strace
    with io_uring_register EINVAL
    assert_equal "$(fact opcodes)" 'no: Invalid argument: needs Linux 5.6'
    assert_regex "$(fact features)" 'NODROP'
    assert_regex "$(fact 'set-up flags')" 'CQSIZE'
}

@test "EAGAIN from io_setup: the limit is named, and 08 is missing" {
    need_aio
    need_strace
    with io_setup EAGAIN
    assert_line --regexp '^set up: no: Resource temporarily .*fs\.aio-max-nr'
    refute_line --regexp '^(poll|fsync) request'
    assert_line "aio-max-nr: $(</proc/sys/fs/aio-max-nr)"
    section Chapters
    assert_line --regexp '^08-io-submit: missing: .*fs\.aio-max-nr'
    assert_line '01-blocking-read: ready'
}

@test "an old kernel's io_submit knows neither poll nor fsync" {
    need_aio
    need_strace
    with io_submit EINVAL
    assert_equal "$(fact 'poll request')" 'no: Invalid argument: needs Linux 4.19'
    assert_equal "$(fact 'fsync request')" 'no: Invalid argument: needs Linux 4.18'
}

@test "--check always says ready, at once" {
    need_strace
    run -0 --separate-stderr strace -f -o "$BATS_TEST_TMPDIR/log" \
        -e trace=io_uring_setup,io_setup,clone,fork,vfork "$ME" --check
    assert_equal "$output$stderr" ''
    run -1 grep -E 'io_|clone|fork' "$BATS_TEST_TMPDIR/log"
}
