#!/usr/bin/env bats
# 16 · A copy to trust: the same bytes, holes, mode and times, whatever it reads
# from; and a destination that is the old file or the new one, whatever fails.
# shellcheck disable=SC2030,SC2031 # each test has variables of its own

setup() {
    load ../../common/test/helpers
    needs 16-liburing-copy
    SRC=$(make_file $((1 << 20)) src)
    SRC=${SRC%/*}/in/src
    mkdir "${SRC%/*}" "$BATS_TEST_TMPDIR/out"
    mv "$BATS_TEST_TMPDIR/src" "$SRC"
    OUT=$(realpath "$BATS_TEST_TMPDIR/out")
    DST=$OUT/dst
}

# copy [OPTION]... SRC DST
copy() { "$BIN/16-liburing-copy" "$@"; }

# alone: the destination's folder holds the destination, or nothing, and no
# temporary file.
alone() { assert_equal "$(ls -A "$OUT")" "${1-dst}"; }

# stand_in: build a library that steps between the program and liburing; with
# common/test/short.c before it, transfers come short too.
#   WRONG=N  each fifth completion carries -N instead
#   BUSY=1   no submit succeeds while anything is in flight
#   HOOK=... a command that is run before the second submit
#   LEAP=1   each look at the clock comes a second after the last one
stand_in() {
    # shellcheck disable=SC2046 # options they are
    cc -shared -fPIC -x c -o "$BATS_TEST_TMPDIR/libstandin.so" - -ldl \
        $(pkg-config --cflags liburing) <<'END_OF_C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int io_uring_submit_and_wait(struct io_uring *ring, unsigned n)
{
    static unsigned calls, completions, submitted, refused_at = -1U;
    int (*real)(struct io_uring *, unsigned) =
        dlsym(RTLD_NEXT, "io_uring_submit_and_wait");
    const char *hook = getenv("HOOK"), *wrong = getenv("WRONG");
    struct io_uring_cqe *cqe;
    unsigned head;

    if (++calls == 2 && hook) {
        unsetenv("LD_PRELOAD");
        if (system(hook))
            abort();
    }
    if (getenv("BUSY") && submitted != *ring->cq.khead) {
        if (refused_at == *ring->cq.khead)
            abort(); /* It did not wait. */
        refused_at = *ring->cq.khead;
        write(1, "refused\n", 8);
        return -EAGAIN;
    }
    int result = real(ring, n);
    submitted += result > 0 ? result : 0;
    io_uring_for_each_cqe(ring, head, cqe)
        if (wrong && ++completions % 5 == 0 && cqe->res > 0)
            cqe->res = -atoi(wrong);
    return result;
}

int clock_gettime(clockid_t id, struct timespec *t)
{
    static int calls;
    int (*real)(clockid_t, struct timespec *) =
        dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, t);

    if (getenv("LEAP"))
        t->tv_sec += ++calls;
    return result;
}
END_OF_C
    export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0
    with=(env LD_LIBRARY_PATH="$BATS_TEST_TMPDIR:$BUILD" LD_PRELOAD=libstandin.so)
}

# --- The demonstration --------------------------------------------------------

@test "without arguments: counts of both ways, holes, and nothing left" {
    export TMPDIR=$OUT
    run -0 --separate-stderr "$BIN/16-liburing-copy" --depth 5
    bytes=$(stat -c %s "$BUILD/sample.data")
    # What is in the cache is done in the submit; see the cold copies below.
    assert [ "$(fact 'most in flight in the ring')" -ge 1 ]
    assert [ "$(fact 'most in flight in the ring')" -le 5 ]
    assert_equal "$(fact bytes)" "$bytes, and all copies are equal"
    # As many writes as reads, and the read that finds the end.
    reads=$(((bytes + 131071) / 131072))
    assert_line --regexp "^cold .* $((2 * reads + 1)) calls +[0-9]+%\$"
    assert_line --regexp "^warm .* $((2 * reads + 1)) calls +[0-9]+%\$"
    assert_line --regexp '^4 KiB, 100 x .* 200 calls .* 300 calls +[0-9]+%$'
    # What the ring can't do in submit a thread does: on ext4, the writes.
    if [[ $(stat -f -c %T "$OUT") == ext2/ext3 ]]; then
        assert [ "$(fact "threads of the kernel's")" -ge 1 ]
    fi
    assert_equal "$stderr" ''
    alone ''
}

@test "without arguments: of a file with holes only the data is copied" {
    export TMPDIR=$OUT
    truncate -s 1M "$OUT/hole"
    (($(stat -c %b "$OUT/hole") == 0)) || skip "files in $OUT have no holes"
    rm "$OUT/hole"
    run -0 "$BIN/16-liburing-copy"
    holes=$(fact 'a file of 64 MiB with holes')
    assert_regex "$holes" '^([0-9]+) KiB on the disk, its copy ([0-9]+) KiB$'
    assert_equal "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
    assert_regex "$(fact 'read and written of it')" '^12 KiB, in [0-9]+ calls$'
}

@test "cold: no page in the cache, all buffers in flight; small: the loop is quicker" {
    need_cold
    for _ in {1..20}; do
        run -0 "$BIN/16-liburing-copy" --depth 5
        ratio=$(sed -n 's/^4 KiB.* \([0-9]*\)%$/\1/p' <<<"$output")
        if [[ $(fact 'pages cached before the cold copies') == 0 &&
            $(fact 'most in flight in the ring') == 5 ]] && ((ratio > 100)); then
            return 0
        fi
    done
    fail "$output"
}

@test "strace: it makes the calls that it counts" {
    need_strace
    strace_calls io_uring_enter,preadv2,read --seccomp-bpf \
        "$BIN/16-liburing-copy"
    assert_success
    ring=$(awk '/^(cold|warm|4 KiB)/ {
            for (i = 1; i <= NF; i++) if ($i == "calls") { n += $(i - 1); break }
        } /^read and written/ { n += $(NF - 1) } END { print n }' <<<"$output")
    # grep, since there are thousands of lines. One more finds out whether this
    # machine can show it.
    assert_equal "$(grep -cE '^[0-9]+ +(io_uring_enter|preadv2)\(' "$STRACE_LOG")" \
        $((ring + 1))
    # The loop reads the sample twice, the ring never with read(2).
    bytes=$(stat -c %s "$BUILD/sample.data")
    sample=$(as_regex "$(realpath "$BUILD/sample.data")")
    assert_equal "$(grep -cE "^[0-9]+ +read\([0-9]+<$sample>" "$STRACE_LOG")" \
        $((2 * ((bytes + 131071) / 131072 + 1)))
}

# bats test_tags=deep
@test "without a thread for the writes: 77 and the way out; a copy fails" {
    limited 16-liburing-copy
    for arguments in '' --check; do
        # shellcheck disable=SC2086 # a word or none
        run -77 --separate-stderr "${limited[@]}" "$here/16-liburing-copy" $arguments
        assert_equal "$output" ''
        assert_equal "${stderr_lines[0]}" "16-liburing-copy: writes beside reads: the\
 kernel could make no thread for it: the limit of processes and threads is reached."
        assert_regex "${stderr_lines[1]}" 'ulimit -u, or pids.max'
    done
    cp "$SRC" "$here/src"
    mkdir -m 1777 "$here/to"
    run --separate-stderr "${limited[@]}" "$here/16-liburing-copy" "$here/src" \
        "$here/to/dst"
    left=$(ls -A "$here/to")
    same=$(cmp "$here/src" "$here/to/dst" && echo same) || :
    rm -r "$here"
    # Not every file system needs one: those with FOP_BUFFER_WASYNC do not.
    if ((status == 0)); then
        assert_equal "$same" same
    else
        assert_equal "$status, left: $left" '1, left: '
        assert_regex "${stderr_lines[0]}" 'dst at byte 0: the kernel could make no'
        assert_regex "${stderr_lines[1]}" 'ulimit -u, or pids.max'
    fi
}

# --- The same bytes -------------------------------------------------------------

# bats test_tags=deep
@test "files of all sizes, with buffers of all numbers and sizes" {
    for bytes in 0 1 4095 4096 4097 65536 524289 1048576; do
        head -c $bytes "$SRC" >"$OUT/src"
        for options in '' '--depth 1' '--depth 7 --block 4' '--block 16384'; do
            # shellcheck disable=SC2086 # words they are
            copy $options "$OUT/src" "$DST"
            cmp "$OUT/src" "$DST" || problem "$bytes bytes, $options"
        done
    done
    no_problems
}

# bats test_tags=deep
@test "it says nothing when all is well" {
    run -0 copy "$SRC" "$DST"
    assert_output ''
    alone
}

# bats test_tags=deep
@test "short transfers are finished; -EINTR and -EAGAIN are made again" {
    stand_in
    short='LD_PRELOAD=libshort.so:libstandin.so'
    truncate -s -999 "$SRC"
    for fault in $short WRONG=4 WRONG=11 "$short WRONG=4"; do
        for options in '--depth 1' '--depth 3 --block 16' '--depth 9 --block 8'; do
            rm -f "$DST"
            # shellcheck disable=SC2086 # words they are
            timeout 60 "${with[@]}" $fault "$BIN/16-liburing-copy" $options \
                "$SRC" "$DST" || problem "$fault $options: status $?"
            cmp "$SRC" "$DST" || problem "$fault $options"
        done
    done
    no_problems
}

# bats test_tags=deep
@test "io_uring_enter is made again after EINTR" {
    need_strace
    for when in 1 2 3+2; do
        run -0 strace -o /dev/null -e signal=none \
            -e inject=io_uring_enter:error=EINTR:when=$when \
            "$BIN/16-liburing-copy" "$SRC" "$DST"
        cmp "$SRC" "$DST"
    done
}

# bats test_tags=deep
@test "after EAGAIN it waits for what is in flight, before it asks again" {
    # Where writes are done in submit, only reads of a cold file are in flight.
    need_cold
    stand_in
    for _ in {1..20}; do
        dd if="$SRC" iflag=nocache count=0 status=none
        run -0 timeout 60 "${with[@]}" BUSY=1 "$BIN/16-liburing-copy" --block 4 \
            "$SRC" "$DST"
        cmp "$SRC" "$DST"
        [[ ! $output ]] || return 0
    done
    fail 'nothing was ever in flight'
}

# bats test_tags=deep
@test "EAGAIN with nothing in flight is an error, not a wait for ever" {
    need_strace
    run -1 --separate-stderr timeout 60 strace -o /dev/null -e signal=none \
        -e inject=io_uring_enter:error=EAGAIN:when=2+ "$BIN/16-liburing-copy" \
        "$SRC" "$DST"
    assert_equal "$stderr" "16-liburing-copy: submitting reads and writes:\
 Resource temporarily unavailable"
    alone ''
}

@test "it looks ahead: a byte of each block, without waiting; no is an answer" {
    need_strace
    log=$BATS_TEST_TMPDIR/log
    truncate -s 4M "$OUT/src"
    dd if="$SRC" of="$OUT/src" bs=64K seek=8 conv=notrunc status=none
    # Where the data is, from block 8 to 23, and ahead of the first that are read.
    ahead=$(for block in {12..23}; do echo $((block * 65536)); done)
    for error in '' EAGAIN EOPNOTSUPP; do
        # shellcheck disable=SC2086 # a word or none
        run -0 strace -o "$log" -e trace=preadv2 -e signal=none \
            ${error:+-einject=preadv2:error=$error} \
            "$BIN/16-liburing-copy" --block 64 "$OUT/src" "$DST"
        cmp "$OUT/src" "$DST"
        run -0 sed -nE 's/^preadv2\(.*iov_len=1\}\], 1, ([0-9]+), RWF_NOWAIT\).*/\1/p' \
            "$log"
        # Or the file system itself does not have it: overlayfs, say.
        if [[ $error == EOPNOTSUPP ]] || grep -q '= -1 EOPNOTSUPP' "$log"; then
            assert_equal "$output" $((12 * 65536))
        else
            assert_equal "$output" "$ahead"
        fi
    done
    run -0 strace -o "$log" -e trace=preadv2 "$BIN/16-liburing-copy" \
        /proc/version "$DST"
    refute grep preadv2 "$log"
}

# bats test_tags=deep
@test "data at the end of the largest file there can be" {
    # ext4 has none of that size, but a file system in memory.
    folder=$(mktemp -d /dev/shm/16.XXXXXX) || skip 'no /dev/shm'
    src=$folder/src end=$((2 ** 63 - 4096))
    if ! truncate -s $end "$src"; then
        rm -r "$folder"
        skip 'no file in /dev/shm can be that large'
    fi
    dd if="$SRC" of="$src" bs=4K seek=$((end / 4096 - 32)) count=32 \
        conv=notrunc status=none
    for block in 128 16384; do
        copy --block $block "$src" "$folder/dst" &&
            cmp "$SRC" --bytes=$((32 * 4096)) <(dd if="$folder/dst" bs=4K \
                skip=$((end / 4096 - 32)) count=32 status=none) ||
            problem "in blocks of $block KiB"
    done
    rm -r "$folder"
    no_problems
}

# Never more than depth buffers: nothing that grows with the file is allocated.
# bats test_tags=deep
@test "memory: as much for a large file as for a small one" {
    need_strace
    ! built_with address || skip 'the sanitizer has an allocator of its own'
    yes | head -c 64M >"$OUT/large"
    yes | head -c 1M >"$OUT/small"
    for size in small large; do
        strace_calls mmap,brk,mremap "$BIN/16-liburing-copy" "$OUT/$size" "$DST"
        assert_success
        sed -E 's/^[0-9]+ +//; s/0x[0-9a-f]+/X/g' "$STRACE_LOG" >"$OUT/$size.log"
    done
    run -0 diff "$OUT/small.log" "$OUT/large.log"
}

# --- Holes ------------------------------------------------------------------------

# data_in FILE: how many bytes are data, by SEEK_DATA and SEEK_HOLE. (Blocks say less:
# XFS sets some aside that may never be written. It calls them data where they are in
# the page cache, so that is emptied first.)
data_in() {
    sync "$1"
    dd if="$1" iflag=nocache count=0 status=none
    perl -e 'open(my $file, "<", shift) or die "$!\n";
        for (my $at = 0; defined($at = sysseek($file, $at, 3));) {
            my $end = sysseek($file, $at, 4);
            $bytes += $end - $at;
            $at = $end;
        }
        print $bytes + 0' "$1"
}

@test "holes stay holes: in front, between, at the end, and nothing but a hole" {
    cd "$OUT"
    truncate -s 1M "$OUT/front" "$OUT/nothing"
    (($(data_in nothing) == 0)) || skip "files in $OUT have no holes"
    for at in 1 5 6 40; do
        dd if="$SRC" of=holes bs=64K seek=$at count=1 conv=notrunc status=none
    done
    cp holes ending && truncate -s 8M ending
    cat "$SRC" >>front
    # Behind the end of a file that grows XFS sets blocks aside. When the file goes on
    # after a hole, zeros are written to some of them. Others set nothing aside.
    aside=$(perl -e 'open(my $file, ">", "growing") or die "$!\n";
        syswrite($file, "x" x 4096) for 1 .. 32;
        print((stat($file))[12] * 512 > 131072 ? 2 : 1)')
    for file in front nothing holes ending; do
        most=$(data_in $file)
        [[ $file == front ]] || most=$((aside * most))
        for options in '' '--depth 1 --block 4' '--block 16384'; do
            # shellcheck disable=SC2086 # words they are
            copy $options "$file" "$DST"
            cmp "$file" "$DST" || problem "$file, $options: not the same"
            (($(data_in "$DST") <= most)) || problem "$file, $options:\
 $(data_in "$DST") bytes of data, not $most"
        done
    done
    no_problems
}

# --- Sizes that nobody knows beforehand ---------------------------------------------

# bats test_tags=deep
@test "a FIFO is copied to its end, in order" {
    mkfifo "$OUT/fifo"
    (umask 027 && exec "$BIN/16-liburing-copy" --depth 8 --block 4 \
        "$OUT/fifo" "$DST") 3>&- &
    cat "$SRC" >"$OUT/fifo"
    wait $!
    cmp "$SRC" "$DST"
    # The mode of a new file: that of the FIFO says nothing.
    assert_equal "$(stat -c %a "$DST")" 640
}

# bats test_tags=deep
@test "files that say they are empty, or larger than they are, are read" {
    for file in /proc/version /proc/filesystems /proc/self/cmdline \
        /sys/kernel/fscaps /sys/kernel/profiling; do
        [[ -r $file ]] || continue
        copy "$file" "$DST" || problem "$file: status $?"
        if [[ $file == */cmdline ]]; then
            # Its own: the words of this command.
            tr '\0' ' ' <"$DST" | grep -qF "liburing-copy $file $DST" ||
                problem "$file: $(tr '\0' ' ' <"$DST")"
        else
            cmp "$file" "$DST" || problem "$file"
        fi
    done
    no_problems
}

# bats test_tags=deep
@test "a source that is changed meanwhile: told, and the old file stays" {
    stand_in
    echo precious >"$DST"
    for change in "cat ${SRC@Q} >>" "truncate -s 0" "truncate -s 500000" \
        "head -c 1048576 /dev/zero >" "cat ${SRC@Q} >"; do
        cp "$SRC" "$BATS_TEST_TMPDIR/src"
        run -1 --separate-stderr "${with[@]}" \
            HOOK="$change ${BATS_TEST_TMPDIR@Q}/src" "$BIN/16-liburing-copy" \
            --depth 2 --block 4 "$BATS_TEST_TMPDIR/src" "$DST"
        assert_equal "$stderr" "16-liburing-copy:\
 $BATS_TEST_TMPDIR/src changed while it was copied"
        assert_equal "$(cat "$DST")" precious
        alone
    done
}

# --- Mode and times ---------------------------------------------------------------------

@test "mode and times are the source's; set-user-ID is not" {
    touch -d '2001-02-03 04:05:06.789' "$SRC"
    for mode in 600 755 444 4755; do
        chmod $mode "$SRC"
        echo old >"$OUT/new" && mv "$OUT/new" "$DST"
        (umask 077 && copy "$SRC" "$DST")
        assert_equal "$(stat -c '%a %y' "$DST")" \
            "${mode: -3} $(stat -c %y "$SRC")"
    done
}

# --- What is refused -----------------------------------------------------------------------

# refuses TEXT SRC DST
refuses() {
    run -1 --separate-stderr timeout 60 "$BIN/16-liburing-copy" "$2" "$3"
    assert_equal "$stderr" "16-liburing-copy: $1"
    assert_output ''
}

# bats test_tags=deep
@test "the same file under whichever name is refused, and stays as it is" {
    cp "$SRC" "$DST"
    ln "$DST" "$OUT/hard"
    ln -s "$DST" "$OUT/soft"
    cd "$OUT"
    for name in "$DST" dst "$OUT/hard" "$OUT/soft" "../out/./dst"; do
        refuses "$name and $DST are the same file" "$name" "$DST"
        refuses "$DST and $name are the same file" "$DST" "$name"
    done
    cmp "$SRC" "$DST"
    alone $'dst\nhard\nsoft'
}

# bats test_tags=deep
@test "directories are refused, and what can't be opened or named" {
    refuses "copying $OUT: it is a directory" "$OUT" "$OUT/new"
    refuses "replacing $OUT: it is a directory" "$SRC" "$OUT"
    refuses "creating '$OUT/new/': that is no name of a file" "$SRC" "$OUT/new/"
    refuses "creating '': that is no name of a file" "$SRC" ''
    refuses "opening $OUT/none: No such file or directory" "$OUT/none" "$DST"
    refuses "creating $OUT/no/dst: No such file or directory" \
        "$SRC" "$OUT/no/dst"
    alone ''
}

# bats test_tags=deep
@test "a link that leads to nothing, or in a circle, is refused, and stays" {
    cd "$OUT"
    ln -s none dangling
    ln -s circle circle
    refuses 'replacing dangling: No such file or directory' "$SRC" dangling
    refuses 'replacing circle: Too many levels of symbolic links' "$SRC" circle
    refuses "replacing $SRC/x: Not a directory" "$SRC" "$SRC/x"
    alone $'circle\ndangling'
    assert [ -L circle -a -L dangling ]
}

# --- Other destinations ----------------------------------------------------------------------

# bats test_tags=deep
@test "a FIFO or a device is written to directly, in order" {
    mkfifo "$OUT/fifo"
    refuses "opening $OUT/fifo: No such device or address" "$SRC" "$OUT/fifo"
    exec {fd}<>"$OUT/fifo"
    head -c 1048576 <&"$fd" >"$OUT/got" 3>&- &
    copy --depth 8 --block 4 "$SRC" "$OUT/fifo"
    wait $!
    exec {fd}>&-
    cmp "$SRC" "$OUT/got"
    run -0 copy --sync "$SRC" /dev/null
    refuses "writing /dev/full at byte 0: No space left on device" "$SRC" /dev/full
    assert [ -c /dev/null -a -c /dev/full ]
    # What is behind a link is replaced, and not the link.
    ln -s dst "$OUT/soft"
    echo old >"$DST"
    copy "$SRC" "$OUT/soft"
    assert [ -L "$OUT/soft" ]
    cmp "$SRC" "$DST"
}

# --- All or nothing ------------------------------------------------------------------------------

# whole: is the destination the old one or the new one, and alone?
whole() {
    cmp -s "$DST" <(echo precious) || cmp -s "$DST" "$SRC" ||
        problem "$1: the destination is neither the old file nor the new one"
    [[ $(ls -A "$OUT") == dst ]] || problem "$1: leaves $(ls -A "$OUT")"
}

# bats test_tags=deep
@test "a block device is copied, but never written to" {
    # No whole number of blocks, and less than the sample: that has room.
    image=$(make_file 300032 image)
    before=$(crc32_of "$image")
    block_devices "$image"
    for device in "${DEVICES[@]}"; do
        for options in '' --sync; do
            # shellcheck disable=SC2086 # none or one
            run -1 "$BIN/16-liburing-copy" $options "$BATS_TEST_DIRNAME/README.md" "$device"
            assert_output "16-liburing-copy: writing $device: it is a block \
device, and would be overwritten"
        done
        rm -f "$BATS_TEST_TMPDIR/copy"
        run -0 "$BIN/16-liburing-copy" "$device" "$BATS_TEST_TMPDIR/copy"
        assert_output ''
        cmp "$image" "$BATS_TEST_TMPDIR/copy"
        # Who may not read the disk may not read the copy.
        assert_equal "$(stat -c %a "$BATS_TEST_TMPDIR/copy")" \
            "$(stat -L -c %a "$device")"
    done
    sync "${DEVICES[0]}"
    assert_equal "$(crc32_of "$image")" "$before"
}

# bats test_tags=deep
@test "whichever call fails, the destination is whole, and alone" {
    need_strace
    for call in openat lseek fstat,newfstatat fchmod ftruncate utimensat close \
        rename fsync io_uring_enter io_uring_setup; do
        failed=''
        for when in {1..25}; do
            echo precious >"$OUT/old" && mv "$OUT/old" "$DST"
            status=0
            strace -f --seccomp-bpf -o "$BATS_TEST_TMPDIR/log" -e signal=none \
                -e "trace=$call" -e "inject=$call:error=EIO:when=$when" \
                "$BIN/16-liburing-copy" --sync --block 64 "$SRC" "$DST" ||
                status=$?
            grep -q INJECTED "$BATS_TEST_TMPDIR/log" || break
            whole "$call $when"
            if ((status != 0)); then
                failed=yes
            else
                cmp -s "$SRC" "$DST" || problem "$call $when: success, old file"
            fi
        done
        [[ $failed ]] || problem "$call: did never make it fail"
    done
    no_problems
}

# bats test_tags=deep
@test "a disk that fails or is full: told, with the place; the old file stays" {
    stand_in
    echo precious >"$DST"
    run -1 --separate-stderr "${with[@]}" WRONG=5 "$BIN/16-liburing-copy" \
        --depth 1 --block 64 "$SRC" "$DST"
    # The fifth completion: two blocks are copied, and the third is read.
    assert_equal "$stderr" \
        "16-liburing-copy: reading $SRC at byte 131072: Input/output error"
    whole 'reading'
    run -1 --separate-stderr bash -c 'ulimit -f 512; exec "$@"' - \
        "$BIN/16-liburing-copy" --block 64 "$SRC" "$DST"
    assert_equal "$stderr" \
        "16-liburing-copy: writing $DST at byte 524288: File too large"
    whole 'writing'
    no_problems
}

# bats test_tags=deep
@test "a full disk, for real" {
    export SRC OUT BIN
    unshare -m true || skip 'this user may not mount, or not here'
    run --separate-stderr unshare -m bash -c '
        mount -t tmpfs -o size=512k none "$OUT" || exit 77
        echo precious >"$OUT/dst"
        "$BIN/16-liburing-copy" "$SRC" "$OUT/dst"
        echo "status $?: $(ls -A "$OUT") is $(cat "$OUT/dst")"'
    [[ $status != 77 ]] || skip "no small disk: $(one_line "$stderr")"
    assert_output 'status 1: dst is precious'
    assert_regex "$stderr" "writing $(as_regex "$DST") at byte [0-9]+: No space left on device"
}

# bats test_tags=deep
@test "Ctrl-C and its like, wherever they come: whole, and alone" {
    need_strace
    ulimit -c 0 # Ctrl-\ leaves a core file.
    for signal in INT:130 QUIT:131 TERM:143 HUP:129; do
        for at in io_uring_enter:1 io_uring_enter:4 io_uring_enter:9 lseek:2 \
            ftruncate:1 fchmod:1 utimensat:1 fsync:1 rename:1; do
            echo precious >"$OUT/old" && mv "$OUT/old" "$DST"
            run "-${signal#*:}" env --default-signal strace -f -o /dev/null \
                -e signal=none -e "inject=${at%:*}:signal=${signal%:*}:when=${at#*:}" \
                "$BIN/16-liburing-copy" --sync --block 16 "$SRC" "$DST"
            whole "$signal at $at"
        done
    done
    no_problems
}

# bats test_tags=deep
@test "kill -9 leaves the old destination, and one temporary file beside it" {
    need_strace
    echo precious >"$DST"
    run -137 strace -f -o /dev/null -e signal=none \
        -e inject=io_uring_enter:signal=KILL:when=5 \
        "$BIN/16-liburing-copy" --block 16 "$SRC" "$DST"
    assert_equal "$(cat "$DST")" precious
    assert_regex "$(ls -A "$OUT")" $'^.in-circles\\.[A-Za-z0-9]{6}\ndst$'
    assert_equal "$(stat -c %a "$OUT"/.in-circles.*)" 600
}

@test "strace: another name, mode, times, with --sync the file, rename, folder" {
    need_strace
    for option in '' --sync; do
        # shellcheck disable=SC2086 # a word or none
        strace_calls openat,ftruncate,fchmod,utimensat,fsync,rename \
            "$BIN/16-liburing-copy" $option "$SRC" "$DST"
        assert_success
        run -0 perl -ne '
            my ($call, $about) = /^\d+ +(\w+)\((.*(?:\.in-circles\.|\/out[">]).*)/ or next;
            print $call, $about =~ /\.in-circles\./ ? " temporary\n" : "\n"' \
            "$STRACE_LOG"
        assert_equal "$(paste -sd , <<<"$output")" "openat temporary,\
ftruncate temporary,fchmod temporary,utimensat temporary,\
${option:+fsync temporary,openat,}rename temporary${option:+,fsync}"
    done
    assert_equal "$(count_calls openat "\"$DST\"")" 0
}

# --- Progress ------------------------------------------------------------------------------------

# on_terminal COMMAND: its output, as a terminal would get it, a line for each
# time that it begins one anew.
on_terminal() {
    command -v script >/dev/null || skip 'script is not installed'
    run -0 script -qec "$1" /dev/null
    output=$(tr '\r' '\n' <<<"$output" | sed 's/\x1b\[K//')
    mapfile -t lines <<<"$output"
}

# bats test_tags=deep
@test "a bar with rate and time left, if stderr is a terminal" {
    stand_in
    on_terminal "${with[*]@Q} LEAP=1 ${BIN@Q}/16-liburing-copy --depth 1 --block 64 ${SRC@Q} ${DST@Q}"
    assert_line --regexp '^  6% \[# {29}\] 0\.[01] MiB, 0\.0 MiB/s, [0-9]+ s left$'
    assert_line --regexp '^ 50% \[#{15} {15}\] 0\.[45] MiB, 0\.0 MiB/s, [0-9]+ s left$'
    assert_line --regexp '^100% \[#{30}\] 1\.0 MiB, 0\.0 MiB/s$'
    cmp "$SRC" "$DST"
}

# bats test_tags=deep
@test "of unknown size there is no bar and no time left, but the rate" {
    stand_in
    mkfifo "$OUT/fifo"
    cat "$SRC" >"$OUT/fifo" 3>&- &
    on_terminal "${with[*]@Q} LEAP=1 ${BIN@Q}/16-liburing-copy ${OUT@Q}/fifo ${DST@Q}"
    wait $!
    assert_line --regexp '^0\.[0-9] MiB, [0-9.]+ MiB/s$'
    refute_output --partial left
    refute_output --partial %
    cmp "$SRC" "$DST"
}

# bats test_tags=deep
@test "a copy that took no time to speak of has no bar, and no last line" {
    for _ in {1..20}; do
        on_terminal "${BIN@Q}/16-liburing-copy /proc/version ${DST@Q}"
        [[ $output ]] || return 0
    done
    fail "$output"
}

# bats test_tags=deep
@test "an error comes on a line of its own, below the bar" {
    stand_in
    run script -qec "${with[*]@Q} LEAP=1 WRONG=5 ${BIN@Q}/16-liburing-copy --depth 1 ${SRC@Q} ${DST@Q}" /dev/null
    assert_line --regexp '^16-liburing-copy: reading .*: Input/output error'
}
