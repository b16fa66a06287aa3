#!/usr/bin/env bats
# 02 · Durable write: a write returns when the bytes are in memory, and a sync when
# they are on the disk; and what a crash leaves of a file that is replaced.
# shellcheck disable=SC2030,SC2031 # each test has an $output of its own

setup() {
    load ../../common/test/helpers
    FILE=$(make_file $((4 << 20)))
    # All that the programs make is in here.
    export TMPDIR=$BATS_TEST_TMPDIR/scratch
    mkdir "$TMPDIR"
    # shellcheck disable=SC2153 # helpers.bash sets PAGE.
    PAGES=$((8 * 65536 / PAGE))
}

# durable_write: run the lesson on $FILE. It must succeed, and say nothing on stderr.
durable_write() {
    run --separate-stderr "$BIN/02-durable-write" "$FILE"
    assert_equal "$stderr" ''
    assert_success
}

# row PASS: what its row has: sleeps in the writes, in the sync, pages to write after
# the writes, after the sync.
row() {
    sed -nE "s/^$1 +([0-9]+) +([0-9-]+) +([0-9a-z]+) +([0-9a-z-]+)\$/\1 \2 \3 \4/p" \
        <<<"$output"
}

# need_disk: skip where scratch files are not on a disk.
need_disk() {
    [[ $(stat -f -c %T "$TMPDIR") != tmpfs ]] || skip "$TMPDIR is a tmpfs"
}

# need_mounts: skip where this user may not mount an image.
need_mounts() {
    local why
    [[ -x /sbin/mkfs.ext4 ]] || skip 'there is no /sbin/mkfs.ext4'
    unshare -m true 2>/dev/null || skip 'this user may not mount, or not here'
    why=$(losetup -f 2>&1) || skip "no loop device here: $(one_line "$why")"
}

# preload CODE: a library that steps between the program and the kernel.
preload() {
    cc -D_FILE_OFFSET_BITS=64 -shared -fPIC -x c \
        -o "$BATS_TEST_TMPDIR/stand-in.so" - -ldl <<<"#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <unistd.h>
$1"
    export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0
    # A path in LD_PRELOAD may hold no blank, one in LD_LIBRARY_PATH may.
    stand_in=(env LD_LIBRARY_PATH="$BATS_TEST_TMPDIR" LD_PRELOAD=stand-in.so)
}
NO_CACHESTAT='long syscall(long number, ...)
{
    (void)number;
    errno = ENOSYS;
    return -1;
}'
SHORT_WRITES='ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    ssize_t (*real)(int, const void *, size_t, off_t) =
        dlsym(RTLD_NEXT, "pwrite64");
    return real(fd, data, bytes > 4096 ? bytes - 4096 : bytes, offset);
}
ssize_t write(int fd, const void *data, size_t bytes)
{
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    return real(fd, data, bytes > 4096 ? bytes - 4096 : bytes);
}'

# new_bytes FILE: how many bytes of the new file are in it; -1 if there are others, too.
new_bytes() { perl -0777 -ne 'print /^n*$/ ? length : -1' "$1"; }

# --- Who waits for what -----------------------------------------------------------

@test "each pass writes the blocks of 01" {
    durable_write
    assert_equal "$(fact checksum)" "$(checksum_of_01)"
    assert_line --index 0 --partial \
        "8 blocks of 64 KiB, $PAGES pages, to scratch files in $TMPDIR"
    assert_equal "$(ls -A "$TMPDIR")" ''
}

# The kernel writes dirty pages of its own accord as well, so what is to be written
# after the writes is asserted of one run. It was so in 120 of 120, half of them beside
# two busy loops. After a sync, and with O_DSYNC, no page is dirty, ever.
@test "after the writes all pages are to be written, after the sync none" {
    need_disk
    for _ in {1..10}; do
        durable_write
        read -r _ _ written synced <<<"$(row fsync)"
        assert_equal "$synced" 0
        read -r _ _ each _ <<<"$(row O_DSYNC)"
        assert_equal "$each" 0
        read -r _ _ changed synced <<<"$(row 'cold part')"
        assert_equal "$synced" 0
        [[ $written != "$PAGES" || $changed != 8 ]] || return 0
    done
    fail "$output"
}

# So it was in 120 of 120 runs, half of them beside two busy loops. If each write is
# synced, it is so in none.
@test "the thread sleeps in fsync and not in the writes; with O_DSYNC in the writes" {
    need_disk
    for _ in {1..10}; do
        durable_write
        read -r writes sync _ <<<"$(row fsync)"
        read -r each none _ <<<"$(row O_DSYNC)"
        assert_equal "$none" -
        ((writes > 0 || sync < 1 || each < 8)) && continue
        # Blocks are safe all at once, and that is the end; or one after the other. (A
        # pass that is short for the scale has a single sign.)
        grep -q '^fsync  *[▒░█ ][▒░█ ]*◆ *$' <<<"$output" || continue
        grep -q '^O_DSYNC  *[▒█][▒█]* \{0,1\}◆.*[▒█ ]◆ *$' <<<"$output" || continue
        return 0
    done
    fail "expected : no sleep in the writes, then 8 or more; and ◆ at the end
$output"
}

# The exercise. The longer file has its journal written with each write: 25 sleeps. In place
# it was 17 to 24 beside other work, and 22 or fewer in 27 of 40 runs.
# bats test_tags=deep,source
@test "on ext4 O_DSYNC sleeps less in a file that has its full size" {
    [[ $(stat -f -c %T "$TMPDIR") == ext2/ext3 ]] || skip "$TMPDIR is on no ext4"
    way=$(grep -o '{"in place".*},' "$ROOT/chapters/02-durable-write/README.md")
    mkdir "$BATS_TEST_TMPDIR/bin"
    sed "/^ *{\"O_DSYNC\"/a $way" "$ROOT/chapters/02-durable-write/durable-write.c" |
        cc -D_FILE_OFFSET_BITS=64 -I"$ROOT/common" -o "$BATS_TEST_TMPDIR/bin/02-durable-write" \
            -x c - -x none "$ROOT"/common/?*.c -lz
    for _ in {1..10}; do
        BIN=$BATS_TEST_TMPDIR/bin durable_write
        read -r grows _ <<<"$(row O_DSYNC)"
        read -r placed _ <<<"$(row 'in place')"
        ((placed < 8 || placed > grows - 3)) || return 0
    done
    fail "$output"
}

# 8 sleeps in 110 of 120 runs, half of them beside two busy loops, and 7 in ten: a thread
# that loses the processor may find the page there when it goes on. In a warm file none
# sleeps, in any run.
@test "a write of a part of a cold page sleeps, a write of a whole page does not" {
    need_cold
    for _ in {1..10}; do
        durable_write
        read -r whole _ <<<"$(row 'cold page')"
        read -r part _ <<<"$(row 'cold part')"
        ((whole != 0 || part != 8)) || return 0
    done
    fail "expected : 0 sleeps and 8
$output"
}

@test "strace: eight writes in order, then one sync; with O_DSYNC none" {
    need_strace
    strace_calls pwrite64,fsync,fdatasync,sync_file_range,openat,fadvise64,write,pwritev \
        "$BIN/02-durable-write" "$FILE"
    assert_success
    # Where cachestat(2) does not help, smaps is read to count pages; to know that none is
    # on its way, they are dropped after that. That is no step of the program.
    run -0 perl -ne '$counts = 1 if m{/proc/self/smaps};
        /in-circles\./ or next;
        /openat/ and print /O_DSYNC/ ? "open O_DSYNC\n" : "open\n";
        /fsync\(/ and print "fsync\n";
        /DONTNEED/ and !$counts and print "drop\n";
        $counts = 0;
        /pwrite64\(.*, (\d+), (\d+)\) = \1$/ and print "$1 at $2\n"' "$STRACE_LOG"
    blocks=$(for i in {0..7}; do echo "65536 at $((i * 65536))"; done)
    assert_output "open
$blocks
fsync
open O_DSYNC
$blocks
open
$blocks
fsync
drop
${blocks//65536 at/$PAGE at}
fsync
open
$blocks
fsync
drop
${blocks//65536 at/100 at}
fsync"
}

# bats test_tags=deep
@test "writes that come short are finished, interrupted ones made again" {
    preload "$SHORT_WRITES"
    run --separate-stderr "${stand_in[@]}" "$BIN/02-durable-write" "$FILE"
    assert_equal "$stderr" ''
    assert_equal "$(fact checksum)" "$(checksum_of_01)"
    run --separate-stderr "${stand_in[@]}" "$BIN/02-replace" --keep
    assert_equal "$(new_bytes "$TMPDIR"/*/file)" 65536

    need_strace
    run --separate-stderr strace -o /dev/null -e signal=none \
        -e inject=pwrite64:error=EINTR:when=1+3 "$BIN/02-durable-write" "$FILE"
    assert_equal "$stderr" ''
    assert_equal "$(fact checksum)" "$(checksum_of_01)"
    # The first write to the old file, and the first to the new one.
    rm -r "${TMPDIR:?}"/*
    run --separate-stderr strace -o /dev/null -e signal=none \
        -e inject=write:error=EINTR:when=1..3+2 "$BIN/02-replace" --keep
    assert_equal "$stderr" ''
    assert_equal "$(new_bytes "$TMPDIR"/*/file)" 65536
}

# No byte and no error would go on for ever.
# bats test_tags=deep
@test "a write of nothing is an error" {
    need_strace
    run -1 --separate-stderr in_time strace -o /dev/null -e signal=none \
        -e inject=pwrite64:retval=0 "$BIN/02-durable-write" "$FILE"
    assert_equal "$stderr" '02-durable-write: writing the scratch file at byte 0: No space left on device'
    run -1 --separate-stderr in_time strace -o /dev/null -e signal=none \
        -e inject=write:retval=0:when=1 "$BIN/02-replace" --keep
    assert_equal "$stderr" '02-replace: writing a file: No space left on device'
}

# bats test_tags=deep
@test "a file that holds other bytes than were written is noticed" {
    preload 'ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    static const char zeros[1 << 20];
    (void)data;
    ssize_t (*real)(int, const void *, size_t, off_t) =
        dlsym(RTLD_NEXT, "pwrite64");
    return real(fd, zeros, bytes, offset);
}'
    run -1 --separate-stderr "${stand_in[@]}" "$BIN/02-durable-write" "$FILE"
    assert_equal "$stderr" '02-durable-write: fsync: the scratch file holds other bytes than were written'
}

# What the cold passes find in the file is not what they write.
# bats test_tags=deep
@test "a pass that writes nothing into a cold file is noticed" {
    need_strace
    run -1 --separate-stderr strace -o /dev/null -e signal=none \
        -e inject=pwrite64:retval=100:when=41+ "$BIN/02-durable-write" "$FILE"
    assert_equal "$stderr" '02-durable-write: cold part: the scratch file holds other bytes than were written'
}

# --- Counting dirty pages -----------------------------------------------------------

# bats test_tags=deep
@test "without cachestat(2) the pages are counted all the same" {
    need_disk
    preload "$NO_CACHESTAT"
    for _ in {1..10}; do
        run --separate-stderr "${stand_in[@]}" "$BIN/02-durable-write" "$FILE"
        assert_equal "$stderr" ''
        read -r _ _ written synced <<<"$(row fsync)"
        assert_equal "$synced" 0
        read -r _ _ changed _ <<<"$(row 'cold part')"
        [[ $written != "$PAGES" || $changed != 8 ]] || return 0
    done
    fail "$output"
}

# smaps knows only what is dirty. A page may be on its way to the disk: then it can't be
# dropped. If none can be dropped, nobody knows, and the answer is no 0.
# bats test_tags=deep
@test "without cachestat(2), pages that can't be dropped are no proof of a 0" {
    need_strace
    preload "$NO_CACHESTAT"
    run --separate-stderr strace -o /dev/null -e signal=none \
        -E LD_LIBRARY_PATH="$BATS_TEST_TMPDIR" -E LD_PRELOAD=stand-in.so \
        -e inject=fadvise64:retval=0 "$BIN/02-durable-write" "$FILE"
    assert_equal "$stderr" ''
    read -r _ _ _ synced <<<"$(row fsync)"
    assert_equal "$synced" unknown
}

@test "on tmpfs nothing is ever to be written, and nothing is cold" {
    [[ $(stat -f -c %T /dev/shm) == tmpfs ]] || skip '/dev/shm is no tmpfs'
    # ENOSYS is 38. Without this call all pages of a tmpfs are dirty: smaps.
    perl -e 'exit(syscall(451, -1, 0, 0, 0) == -1 && $! == 38)' ||
        skip 'this kernel has no cachestat(2)'
    TMPDIR=/dev/shm durable_write
    assert_equal "$(row fsync)" '0 0 0 0'
    assert_equal "$(row 'warm part')" '0 0 0 0'
}

# bats test_tags=deep
@test "on overlayfs the pages are counted, though cachestat(2) sees none" {
    need_mounts
    mkdir "$TMPDIR"/{lower,upper,work,merged}
    for _ in {1..10}; do
        # shellcheck disable=SC2016 # for that shell
        run --separate-stderr unshare -m bash -c 'cd "$TMPDIR" &&
            mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work \
                none merged || exit 77
            TMPDIR=$PWD/merged exec "$0" "$1"' "$BIN/02-durable-write" "$FILE"
        [[ $status != 77 ]] || skip "no overlayfs: $(one_line "$stderr")"
        assert_equal "$stderr" ''
        read -r _ _ written synced <<<"$(row fsync)"
        assert_equal "$synced" 0
        refute [ "$written" = 0 ]
        [[ $written != "$PAGES" ]] || return 0
    done
    fail "$output"
}

# --- When write() waits for the dirty limit, and when the disk fails ----------------

# With the limit each of 40 runs slept 85 times in the 256 writes or more, half of them
# beside two busy loops. Without it none of 40 slept in one.
# bats test_tags=deep
@test "over the dirty limit of its disk the thread sleeps in the writes" {
    need_mounts
    export DISK=$BATS_TEST_TMPDIR/disk FILE BIN
    mkdir "$DISK"
    # shellcheck disable=SC2016 # for that shell
    run --separate-stderr unshare -m bash -c '
        mount -t tmpfs none "$DISK" && cd "$DISK" && mkdir disk &&
            truncate -s 64M image && mkfs.ext4 -q image >&2 &&
            mount -o loop image disk || exit 77
        limit=/sys/class/bdi/$(mountpoint -d disk)
        [[ -e $limit/strict_limit ]] || exit 77
        # The limit stays with the device, and that goes to whoever wants one next.
        trap "echo 100 >$limit/max_ratio; echo 0 >$limit/strict_limit" EXIT
        export TMPDIR=$DISK/disk
        "$BIN/02-durable-write" -n 256 "$FILE" | sed "s/^fsync/free/"
        echo 1 >"$limit/strict_limit" && echo 262144 >"$limit/max_bytes" || exit 77
        "$BIN/02-durable-write" -n 256 "$FILE" | sed "s/^fsync/held/"'
    [[ $status != 77 ]] || skip "no disk with a limit: $(one_line "$stderr")"
    assert_equal "$stderr" ''
    read -r free _ left _ <<<"$(row free)"
    read -r held _ limited _ <<<"$(row held)"
    assert_equal "$free $left" "0 $(((4 << 20) / PAGE))"
    assert [ "$held" -gt 0 ]
    assert [ "$limited" -le $((262144 / PAGE)) ]
}

# bats test_tags=deeper
@test "a sync that fails is told, and not tried again" {
    need_strace
    for error in EIO ${DEEP:+EINTR}; do
        strace_calls fsync,fdatasync -e inject=fsync:error="$error":when=1 \
            "$BIN/02-durable-write" "$FILE"
        assert_equal "${stderr%: *}" '02-durable-write: fsync of the scratch file'
        assert_equal "$status" 1
        assert_equal "$(count_calls fsync)" 1
        assert_equal "$(ls -A "$TMPDIR")" ''
    done
}

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

# --- 02-replace: after a crash --------------------------------------------------------

# Steps, and below them what is found: now, after a crash, after a crash some seconds
# later.
AFTER_A_CRASH='                                after a crash
                      now       at once   later

All steps
  sync the old file   old       old       old
  write the new file  old       old       old
  sync the new file   old       old       old
  rename              new       old       new
  sync the folder     new       new       new

The old file not synced
  write the new file  old       none      empty   <- neither
  sync the new file   old       empty     empty   <- neither
  rename              new       empty     new     <- neither
  sync the folder     new       new       new

The new file not synced, and ext4 does not help
  sync the old file   old       old       old
  write the new file  old       old       old
  rename              new       old       empty   <- neither
  sync the folder     new       empty     empty   <- neither

The new file not synced, and ext4 helps
  sync the old file   old       old       old
  write the new file  old       old       old
  rename              new       old       new
  sync the folder     new       new       new

The folder not synced
  sync the old file   old       old       old
  write the new file  old       old       old
  sync the new file   old       old       old
  rename              new       old       new

Overwritten in place
  sync the old file   old       old       old
  open with O_TRUNC   empty     old       empty   <- neither
  write               new       old       empty   <- neither'

# replace: run 02-replace. Its first line goes to $how, the others to $output.
replace() {
    run --separate-stderr "$@" "$BIN/02-replace"
    assert_equal "$stderr" ''
    assert_success
    how=${lines[0]}
    output=${output#*$'\n\n'}
}

@test "after a crash: what is on the disk, for the pattern and without each step" {
    need_mounts
    replace
    assert_equal "$how" 'after a crash: found on copies of the disk, an ext4'
    assert_equal "$output" "$AFTER_A_CRASH"
    assert_equal "$(ls -A "$TMPDIR")" ''
}

@test "where nobody may mount, the crash columns are recorded, and said to be" {
    need_strace
    replace strace -o /dev/null -e signal=none -e inject=fsopen:error=EPERM
    assert_regex "$how" \
        '^after a crash: recorded on Linux [0-9.]+, ext4; here [a-z].*: [A-Z]'
    assert_equal "$output" "$AFTER_A_CRASH"
    assert_equal "$(ls -A "$TMPDIR")" ''
}

# One way depends on the option: a new file that is not synced.
# bats test_tags=deep,source
@test "with noauto_da_alloc all other ways leave the same" {
    need_mounts
    cp "$ROOT"/chapters/02-durable-write/*.[ch] "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR"
    sed -i 's/image_mount(disk, option)/image_mount(disk, "noauto_da_alloc")/' crash.c
    grep -q '"noauto_da_alloc")' crash.c
    mkdir bin
    cc -D_FILE_OFFSET_BITS=64 -I"$ROOT/common" -o bin/02-replace replace.c crash.c \
        "$ROOT"/common/?*.c -lz
    BIN=bin replace
    assert_equal "$how" 'after a crash: found on copies of the disk, an ext4'
    unsynced=$(sed -n '/does not help/,/^$/{ //d; p; }' <<<"$AFTER_A_CRASH")
    assert_equal "$output" "$(unsynced=$unsynced perl -0777 -pe \
        's/(?<=ext4 helps\n).*?(?=\n\n)/$ENV{unsynced}/s' \
        <<<"$AFTER_A_CRASH")"
}

# --- 02-replace: what it asks of the kernel -------------------------------------------

@test "strace: sync the old, write, sync, rename, sync the folder" {
    need_strace
    strace_calls openat,write,fsync,fdatasync,renameat,renameat2,rename,fchmod \
        "$BIN/02-replace" --keep
    assert_success
    run -0 perl -ne '
        s/^\d+ +//;
        $on ||= /^openat.*"file", O_RDONLY\|O_CLOEXEC/ or next;
        /^openat\(.*?"([^"]*)"(, O_RDWR.*)\)/ ? print("open $1$2\n") :
        /^openat\(.*?"([^"]*)"/ && print("open $1\n");
        /^(fsync|fchmod|write)\(\d+<.*?(\/file|\/\.file\.new|\.\w{6})>/
            && print("$1 ", $2 =~ m{^/(.*)} ? $1 : "folder", "\n");
        /^rename/ && print(join(" ", "rename", /"(.*?)"/g), "\n")' "$STRACE_LOG"
    # The last one looks what the name leads to.
    assert_output 'open file
fsync file
fsync folder
open file
open .file.new, O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 0600
write .file.new
fchmod .file.new
open file
fsync .file.new
open file
rename .file.new file
open file
fsync folder
open file'
}

@test "--keep leaves the new file, alone and with the mode of the old one" {
    umask 027
    run -0 "$BIN/02-replace" --keep
    assert_output "kept: $(echo "$TMPDIR"/*)"
    assert_equal "$(new_bytes "$TMPDIR"/*/file)" 65536
    assert_equal "$(stat -c %a "$TMPDIR"/*/file)" 640
    assert_equal "$(find "$TMPDIR" -type f | wc -l)" 1
}

# broken WHAT: run with that done to a call, and look at what is there then: $there is
# "old" or "new", and $left what else there is.
broken() {
    rm -rf "${TMPDIR:?}"/*
    run --separate-stderr strace -o /dev/null -e signal=none -e trace="${1%%:*}" \
        -e inject="$1" "$BIN/02-replace" --keep
    left=("$TMPDIR"/*/.file.*)
    case $(head -c 1 "$TMPDIR"/*/file)$(stat -c %s "$TMPDIR"/*/file) in
        o65536) there=old ;;
        n65536) there=new ;;
        *) there='no whole' ;;
    esac
}

# replacing: from the log, a line for each call from the sync of the old file to the
# sync of the folder, less those that look what is there: its name, and which of its
# name it is.
replacing() {
    perl -ne '
        # strace logs calls that it has no name for, but can not break them.
        my ($call, $about) = /^\d+ +(?!syscall_)(\w+)\((.*)/ or next;
        $seen{$call}++;
        my $first = !$on && $call eq "openat" && $about =~ /"file", O_RDONLY\|O_CLOEXEC/;
        $on ||= $first;
        next if !$on || $about =~ /^1</;
        next if !$first && $call eq "openat" && $about =~ /O_RDONLY/;
        print "$call $seen{$call}\n";' "$STRACE_LOG"
}

# bats test_tags=deep
@test "whichever call of the replacement fails: a whole file, and it alone" {
    need_strace
    shopt -s nullglob
    strace_calls openat,fchmod,newfstatat,write,fsync,renameat,renameat2,close \
        "$BIN/02-replace" --keep
    assert_success
    mapfile -t steps < <(replacing)
    assert [ ${#steps[@]} -ge 10 ]
    renamed=''
    for step in "${steps[@]}"; do
        read -r call nth <<<"$step"
        broken "$call:error=EIO:when=$nth"
        [[ $status == 1 ]] || problem "$step: status $status"
        [[ $stderr == "02-replace: "*': Input/output error' ]] ||
            problem "$step: says '$stderr'"
        ((${#left[@]} == 0)) || problem "$step: leaves ${left[*]}"
        [[ $there == "${renamed:-old}" ]] || problem "$step: $there file"
        [[ $call != rename* ]] || renamed=new

        # Nor if the program dies on the spot, but for a temporary file.
        broken "$call:signal=KILL:when=$nth"
        [[ $status == 137 ]] || problem "$step, killed: status $status"
        [[ $there == @(old|new) ]] || problem "$step, killed: $there file"
    done
    [[ $renamed ]] || problem 'no rename in the log'
    no_problems
}

# bats test_tags=deep
@test "a replacement that fails leaves the old file alone" {
    need_strace
    shopt -s nullglob
    for call in write:error=ENOSPC:when=2 fsync:error=EIO:when=3 fchmod:error=EPERM; do
        broken $call
        assert_equal "$status" 1
        assert_equal "$there" old
        assert_equal "${left[*]##*/}" ''
    done
}

# bats test_tags=deep
@test "a .file.new that somebody else has made is left alone" {
    need_strace
    strace_calls openat,unlinkat,unlink "$BIN/02-replace" --keep
    nth=$(grep openat "$STRACE_LOG" | grep -n '"\.file\.new"' | cut -d: -f1)
    strace_calls openat,unlinkat,unlink -e inject=openat:error=EEXIST:when="$nth" \
        "$BIN/02-replace" --keep
    assert_equal "$status" 1
    assert_equal "$stderr" '02-replace: creating the new file: File exists'
    assert_equal "$(grep -c 'unlink.*file.new' "$STRACE_LOG")" 0
}

# --- Nothing is left ---------------------------------------------------------------------

# disks: loop devices of ours. They have a file in memory.
disks() { losetup -nlO BACK-FILE | grep -c 'memfd:disk' || :; }

# bats test_tags=deep
@test "nothing is left, however it ends: not a disk, nor a mount, nor a folder" {
    need_strace
    need_mounts
    before=$(disks)
    for signal in INT QUIT TERM KILL; do
        for call in clone3 ioctl fsmount renameat; do
            run strace -o /dev/null -e signal=none \
                -e inject=$call:signal=$signal:when=5+4 "$BIN/02-replace"
            case $call in
                clone3) ;; # There is only one.
                *) assert_equal "$status" $((128 + $(kill -l $signal))) ;;
            esac
            assert_equal "$(ls -A "$TMPDIR")" ''
        done
    done
    run bash -c '"$1/02-replace" | true; exit "${PIPESTATUS[0]}"' bash "$BIN"
    assert_equal "$status" $((128 + 13))
    # The kernel takes a disk down once its last descriptor is closed. That takes a
    # moment. A disk that others have made meanwhile is theirs.
    for _ in {1..100}; do
        (($(disks) > before)) || return 0
        sleep 0.1
    done
    fail "disks: $before before, $(disks) after"
}

# bats test_tags=deep
@test "in a scratch folder a signal waits until the folder is gone" {
    need_strace
    for call in renameat fchmod fsync; do
        for signal in INT QUIT; do
            run strace -o /dev/null -e signal=none -e inject=fsopen:error=EPERM \
                -e inject=$call:signal=$signal:when=1 "$BIN/02-replace"
            assert_equal "$status" $((128 + $(kill -l $signal)))
            assert_equal "$(ls -A "$TMPDIR")" ''
        done
    done
}
