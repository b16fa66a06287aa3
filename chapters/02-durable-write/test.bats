#!/usr/bin/env bats
# 02 · Durable write: what was written is still to be written, until it is
# synced; and a file that is replaced is the old one or the new one, whatever
# fails.
# shellcheck disable=SC2030,SC2031 # each test has a $status of its own

setup() {
    load ../../common/test/helpers
    FILE=$(make_file $((4 << 20)))
    # All that the program makes is in here.
    export TMPDIR=$BATS_TEST_TMPDIR/scratch
    mkdir "$TMPDIR"
}

# need_counts: skip where the kernel does not count dirty pages, or has none.
need_counts() {
    [[ $(stat -f -c %T "$TMPDIR") != tmpfs ]] || skip "$TMPDIR is a tmpfs"
    local pages
    pages=$("$BIN/02-durable-write" "$FILE" | grep -m 1 '^pages to write:')
    [[ $pages != *unknown* ]] ||
        skip 'dirty pages are not counted: cachestat(2) needs Linux 6.5, and no overlayfs'
}

# preload: a library that steps between the program and the kernel. It writes
# a page less than it was given, and knows no cachestat(2).
preload() {
    cc -D_FILE_OFFSET_BITS=64 -shared -fPIC -x c \
        -o "$BATS_TEST_TMPDIR/stand-in.so" - -ldl <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    ssize_t (*real)(int, const void *, size_t, off_t) =
        dlsym(RTLD_NEXT, "pwrite64");
    return real(fd, data, bytes > 4096 ? bytes - 4096 : bytes, offset);
}

long syscall(long number, ...)
{
    (void)number;
    errno = ENOSYS;
    return -1;
}
END
    export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0
    # A path in LD_PRELOAD may hold no blank, one in LD_LIBRARY_PATH may.
    stand_in=(env LD_LIBRARY_PATH="$BATS_TEST_TMPDIR" LD_PRELOAD=stand-in.so)
}

# table TITLE: the lines below it, up to a blank one, without the padding.
table() {
    sed -n "/^$1:/,/^\$/{ //d; s/  */ /g; p }" <<<"$output"
}

# --- What the program prints ----------------------------------------------------

@test "the blocks are those of 01; eight in flight, or one at a time" {
    run -0 --separate-stderr "$BIN/02-durable-write" "$FILE"
    for pass in 1 2; do
        assert_equal "$(fact checksum $pass)" "$(checksum_of_01)"
        assert_equal "$(fact threads $pass)" 1
    done
    assert_equal "$(fact 'most in flight' 1)" 8
    assert_equal "$(in_submit 1)" '0 of 8'
    assert_equal "$(fact 'most in flight' 2)" 1
    assert_equal "$(in_submit 2)" '8 of 8'
    assert_line --index 0 --partial \
        "8 blocks of 64 KiB, $((8 * 65536 / PAGE)) pages, to a scratch file in "
    assert_equal "$stderr" ''
}

# The kernel writes dirty pages of its own accord as well, and on a busy machine
# that may come before our look. So: once in twenty runs. But after a sync, and
# with O_DSYNC, no page is dirty, ever.
@test "all pages are dirty after the writes, and none after the sync" {
    need_counts
    pages=$((8 * 65536 / PAGE)) seen=''
    for _ in {1..20}; do
        run -0 "$BIN/02-durable-write" "$FILE"
        assert_regex "$(fact 'pages to write' 1)" \
            '^0 before, [0-9]+ after the writes, 0 after fsync$'
        assert_equal "$(fact 'pages to write' 2)" \
            '0 before, 0 after the writes'
        assert_line --regexp '^O_DSYNC +0 '
        if [[ $(fact 'pages to write' 1) == *", $pages after the"* ]] &&
            grep -qE "^fsync +$pages +[0-9]+ +[0-9]+%" <<<"$output" &&
            grep -qE "^fdatasync +$pages " <<<"$output"; then
            seen=yes
            break
        fi
    done
    [[ $seen ]] || fail "$output"
}

@test "the thread sleeps in fsync and not in the writes; with O_DSYNC in them" {
    need_cold
    for _ in {1..20}; do
        run -0 "$BIN/02-durable-write" "$FILE"
        blocked=$(fact 'main thread blocked' 1)
        # The rows of the table have the sleeps of writes and sync together.
        in_fsync=$(sed -nE 's/^fsync +[0-9a-z]+ +([0-9]+) .*/\1/p' <<<"$output")
        each=$(sed -nE 's/^O_DSYNC +[0-9a-z]+ +([0-9]+) .*/\1/p' <<<"$output")
        assert_equal "$each" "$(fact 'sleeps in submit' 2)"
        if [[ $(fact 'sleeps in submit' 1) == 0 && ${blocked%%%*} -gt 0 ]] &&
            ((in_fsync > 0 && each >= 8)); then
            return 0
        fi
    done
    fail "$output"
}

@test "the name leads to the old file until all of the new one is on the disk" {
    need_counts
    pages=$((8 * 65536 / PAGE))
    for _ in {1..20}; do
        run -0 "$BIN/02-durable-write" "$FILE"
        replaced=$(table Replaced) overwritten=$(table Overwritten)
        # Whatever is dirty after the writes, the rest is so every time.
        assert_equal "${replaced#write [0-9]* }" 'the old file
fsync 0 the old file
rename 0 the new file
fsync the folder 0 the new file'
        assert_regex "$overwritten" '^open with O_TRUNC 0 an empty file
write [0-9]+ the new file
fsync 0 the new file$'
        if [[ $replaced == "write $pages the old"* &&
            $overwritten == *"write $pages the new"* ]]; then
            return 0
        fi
    done
    fail "$output"
}

@test "without cachestat(2) the pages are unknown, and all else is as ever" {
    preload
    run -0 --separate-stderr "${stand_in[@]}" "$BIN/02-durable-write" "$FILE"
    assert_equal "$(fact 'pages to write' 1)" \
        'unknown before, unknown after the writes, unknown after fsync'
    assert_equal "$(fact checksum 1)" "$(checksum_of_01)"
    assert_regex "$(table Replaced)" '^write unknown the old file'
    assert_equal "$stderr" ''
}

# --- What it asks of the kernel ---------------------------------------------------

# sequence: the calls of the log that are about our files, each as a word or two;
# a number behind an x says how often in a row.
sequence() {
    perl -ne '
        my ($call, $about) = /^\d+ +(?!syscall_)(\w+)\((.*(?:durable-write|in-circles)\..*)/ or next;
        $call .= " $1" if $about =~ /(O_DSYNC|O_TRUNC)/;
        $call .= " folder" if $about =~ m{O_DIRECTORY|/durable-write\.\w{6}>\) };
        $call .= " temporary" if $about =~ m{/\.file\.\w{6}};
        print "$call\n"' "$STRACE_LOG" |
        uniq -c | sed -E 's/^ +//; s/^([0-9]+) (.*)/\2 x\1/; s/ x1$//'
}

@test "strace: eight writes in order, then one sync; O_DSYNC has none" {
    need_strace
    strace_calls pwrite64,fsync,fdatasync,sync_file_range,openat,write,rename \
        "$BIN/02-durable-write" "$FILE"
    assert_success
    # The folder that is opened comes behind the scratch files.
    assert_equal "$(sequence | sed '/openat folder/,$d')" 'openat
pwrite64 x8
fsync
openat
pwrite64 x8
fdatasync
openat O_DSYNC
pwrite64 x8'
    offsets=$(calls pwrite64 in-circles. |
        sed -nE '1,24s/.*, 65536, ([0-9]+)\) = 65536$/\1/p')
    once=$(seq 0 65536 458752)
    assert_equal "$offsets" "$once"$'\n'"$once"$'\n'"$once"
}

@test "strace: the old file is synced; write, fsync, rename, fsync the folder" {
    need_strace
    strace_calls pwrite64,fsync,fdatasync,openat,rename,fchmod \
        "$BIN/02-durable-write" "$FILE"
    assert_success
    assert_equal "$(sequence | sed '/openat folder/,$!d')" 'openat folder x2
openat
pwrite64
fsync
fsync folder
openat temporary
fchmod temporary
pwrite64 temporary x8
fsync temporary
rename temporary
fsync folder
openat O_TRUNC
pwrite64 x8
fsync'
    # The new folder's name is synced too, before anything is replaced.
    run -0 sed -nE '/O_DIRECTORY/,/\.file\./ s/^[0-9]+ +fsync\([0-9]+<(.*)>\) .*/\1/p' \
        "$STRACE_LOG"
    assert_line --index 2 "$(realpath "$TMPDIR")"
    # The new name is the old one's, in the same folder.
    rename=$(calls rename)
    assert_regex "$rename" '\("(.*)/\.file\.[A-Za-z0-9]{6}", "(.*)/file"\) = 0$'
    assert_equal "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
}

@test "writes that come short are finished, interrupted ones made again" {
    preload
    run -0 "${stand_in[@]}" "$BIN/02-durable-write" --keep "$FILE"
    new_file | cmp - "$TMPDIR"/*/file
    assert_equal "$(fact checksum 1)" "$(checksum_of_01)"
    assert_equal "$(fact checksum 2)" "$(checksum_of_01)"
    rm -r "${TMPDIR:?}"/*

    need_strace
    run -0 strace -o /dev/null -e signal=none \
        -e inject=pwrite64:error=EINTR:when=1+3 \
        "$BIN/02-durable-write" --keep "$FILE"
    new_file | cmp - "$TMPDIR"/*/file
    assert_equal "$(fact checksum 1)" "$(checksum_of_01)"
}

# --- When it fails -----------------------------------------------------------------

# The eight blocks, spread over the file as 01 spreads them; and the last one.
new_file() {
    local i
    for i in {0..7}; do
        dd if="$FILE" bs=64K skip=$((i * 8)) count=1 status=none
    done
}
old_file() { dd if="$FILE" bs=64K skip=56 count=1 status=none; }

# replacing: from the log, a line for each call of the replacement, from the
# temporary file to the sync of the folder: its name, and which of its name.
replacing() {
    perl -ne '
        # strace logs calls that it has no name for, but can not break them.
        my ($call, $about) = /^\d+ +(?!syscall_)(\w+)\((.*)/ or next;
        $seen{$call}++;
        $on ||= $call eq "openat" && $about =~ m{/\.file\.};
        print "$call $seen{$call}\n" if $on;
        exit if $on && $call eq "fsync" && $about !~ m{/\.file\.}' "$STRACE_LOG"
}

# broken WHAT: run with that done to a call, and look at what is there then.
broken() {
    rm -rf "${TMPDIR:?}"/*
    run --separate-stderr strace -o /dev/null -e signal=none \
        -e trace="${1%%:*}" -e inject="$1" \
        "$BIN/02-durable-write" --keep "$FILE"
    left=("$TMPDIR"/*/.file.*)
    if cmp -s "$BATS_TEST_TMPDIR/old" "$TMPDIR"/*/file; then
        there=old
    elif cmp -s "$BATS_TEST_TMPDIR/new" "$TMPDIR"/*/file; then
        there=new
    else
        problem "$1: the file is neither the old one nor the new one"
    fi
}

# bats test_tags=deep
@test "whichever call of the replacement fails: a whole file, and it alone" {
    need_strace
    old_file >"$BATS_TEST_TMPDIR/old"
    new_file >"$BATS_TEST_TMPDIR/new"
    shopt -s nullglob
    strace_calls openat,fchmod,fstat,newfstatat,pwrite64,fsync,rename,close \
        "$BIN/02-durable-write" "$FILE"
    assert_success
    mapfile -t steps < <(replacing)
    assert [ ${#steps[@]} -ge 14 ]
    renamed=''
    for step in "${steps[@]}"; do
        read -r call nth <<<"$step"
        broken "$call:error=EIO:when=$nth"
        [[ $status == 1 ]] || problem "$step: status $status"
        [[ $stderr == "02-durable-write: "*': Input/output error' ]] ||
            problem "$step: says '$stderr'"
        ((${#left[@]} == 0)) || problem "$step: leaves ${left[*]}"
        [[ $there == "${renamed:-old}" ]] || problem "$step: the $there file"
        if [[ $call == rename ]]; then renamed=new; fi

        # Nor if the program dies on the spot, but for a temporary file.
        broken "$call:signal=KILL:when=$nth"
        [[ $status == 137 ]] || problem "$step, killed: status $status"
    done
    [[ $renamed ]] || problem 'no rename in the log'
    no_problems
}

# The wrong twin. The same error, at the same write; and the old file is gone.
@test "overwritten in place, the file is lost with the first write that fails" {
    need_strace
    old_file >"$BATS_TEST_TMPDIR/old"
    new_file >"$BATS_TEST_TMPDIR/new"
    # Three times eight writes to scratch files, the old file's, the new one's.
    broken pwrite64:error=ENOSPC:when=26
    assert_equal "$status" 1
    assert_equal "$there" old
    no_problems
    broken pwrite64:error=ENOSPC:when=34
    assert_equal "$status" 1
    assert_regex "$stderr" "^02-durable-write: writing $(as_regex "$TMPDIR")/.*/file at byte 0: "
    assert_regex "$output" \
        "open with O_TRUNC .* an empty file"$'\n\n'"kept: $(as_regex "$TMPDIR")/.*/file\$"
    assert_equal "$(stat -c %s "$TMPDIR"/*/file)" 0
}

@test "a sync that fails is told, and not tried again" {
    need_strace
    for call in fsync fdatasync; do
        strace_calls fsync,fdatasync -e inject=$call:error=EIO:when=1 \
            "$BIN/02-durable-write" "$FILE"
        assert_equal "$status" 1
        assert_equal "$stderr" \
            "02-durable-write: $call of the scratch file: Input/output error"
        assert_equal "$(count_calls $call)" 1
        assert_equal "$(ls -A "$TMPDIR")" ''
    done
}

@test "nothing is left: done, failed, interrupted" {
    need_strace
    run -0 "$BIN/02-durable-write" "$FILE"
    assert_equal "$(ls -A "$TMPDIR")" ''
    for call in rename fchmod pwrite64; do
        run -1 strace -o /dev/null -e signal=none \
            -e inject=$call:error=EIO:when=1 "$BIN/02-durable-write" "$FILE"
        assert_equal "$(ls -A "$TMPDIR")" ''
        # Ctrl-C and Ctrl-\, which wait until the replacement is over.
        for signal in INT QUIT; do
            run -$((128 + $(kill -l $signal))) strace -o /dev/null -e signal=none \
                -e inject=$call:signal=$signal:when=1 "$BIN/02-durable-write" "$FILE"
            assert_equal "$(ls -A "$TMPDIR")" ''
        done
    done
}

# A pipe whose reader goes away after a line: from there on each write() fails.
# bats test_tags=deep
@test "nothing is left when nobody reads on, whichever line was the last one" {
    need_strace
    set +T
    command -v stdbuf >/dev/null || skip 'stdbuf is not installed'
    by_line=(-e trace=write -e signal=none
        -E LD_PRELOAD="$(stdbuf -oL env | sed -n 's/^LD_PRELOAD=//p')" -E _STDBUF_O=L
        -E ASAN_OPTIONS="${ASAN_OPTIONS:-}:verify_asan_link_order=0"
        "$BIN/02-durable-write" "$FILE")
    run -0 strace -o "$BATS_TEST_TMPDIR/log" "${by_line[@]}"
    count=$(grep -c '^write(1, ' "$BATS_TEST_TMPDIR/log")
    assert [ "$count" -gt 50 ]
    for ((line = 1; line <= count; line++)); do
        status=0
        strace -o /dev/null -e inject=write:error=EPIPE:signal=PIPE:when=$line+ \
            "${by_line[@]}" >/dev/null || status=$?
        ((status == 128 + 13)) || problem "line $line: status $status"
        [[ ! $(ls -A "$TMPDIR") ]] || problem "line $line: leaves $(ls -A "$TMPDIR")"
        find "$TMPDIR" -mindepth 1 -delete
    done
    no_problems
}

@test "--keep leaves the new file, with the mode of the old one" {
    umask 022
    run -0 "$BIN/02-durable-write" --keep "$FILE"
    new_file | cmp - "$TMPDIR"/*/file
    assert_equal "$(stat -c %a "$TMPDIR"/*/file)" 644
    assert_line "kept: $(echo "$TMPDIR"/*/file)"
    assert_equal "$(find "$TMPDIR" -type f | wc -l)" 1
}

# --- A disk that fails --------------------------------------------------------------

@test "a real failure: the program tells, and the next fsync is a success" {
    export FILE BIN
    failing_disk '
        TMPDIR=$DISK "$BIN/02-durable-write" "$FILE"
        echo "status: $?"
        head -c 512K "$FILE" >"$DISK/file"
        sync "$DISK/file"; echo "first fsync: $?"
        sync "$DISK/file"; echo "second fsync: $?"
        cmp <(head -c 512K "$FILE") "$DISK/file" && echo "in the cache: right"
        dd if="$DISK/file" iflag=nocache count=0 status=none
        cmp -s <(head -c 512K "$FILE") "$DISK/file" || echo "on the disk: wrong"
        :'
    assert_regex "$stderr" '02-durable-write: fsync of the scratch file: (No space left on device|Input/output error)'
    assert_equal "$output" 'status: 1
first fsync: 1
second fsync: 0
in the cache: right
on the disk: wrong'
}
