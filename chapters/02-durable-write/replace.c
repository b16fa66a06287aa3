/*
 * 02-replace · A file replaced whole
 *
 * Replaces the content of a file, step by step, as databases and editors do. It
 * leaves out one step after the other, and looks each time what would be there
 * after a crash. For that it copies the disk and mounts the copy.
 *
 * Watch for: "empty" and "none" under "after a crash", beside "new" under "now".
 * Everybody sees the right file, and the disk has another one.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/02-durable-write/replace.c \
 *           chapters/02-durable-write/crash.c common/?*.c -lz \
 *           -o 02-replace
 *
 * Needs: any Linux. To look after a crash: root, a loop device, mkfs.ext4, Linux
 * 5.8. Elsewhere these columns are recorded ones.
 * Manual pages: fsync(2), rename(2), open(2), ext4(5).
 */
#include "args.h"
#include "crash.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned keep, shown = 6;

static const struct program program = {
    .name = "02-replace",
    .page = "02-durable-write",
    .does = "Replaces a file, and shows what a crash would leave.",
    .options =
        (const struct program_option[]){
            OPTION_NUMBER("ways", "show so many of the ways", &shown, 1, 6),
            OPTION_SWITCH("keep", "only replace a file, and leave it there",
                          &keep),
            OPTION_END},
};

/* Where the file is, and the new one as long as it has another name. */
struct place {
    int folder;
    int new_file;
};

/* Something has failed. What is half done has to go, and the old file stays. */
__attribute__((noreturn)) static void give_up(const struct place *place,
                                              const char *what)
{
    int error = errno;

    unlinkat(place->folder, ".file.new", 0);
    errno = error;
    err(1, "%s", what);
}

/* --- The steps ------------------------------------------------------------ */

/* The old file is FILE_SIZE times the letter FOUND_OLD, the new one FOUND_NEW. */
static void fill(const struct place *place, int fd, char letter)
{
    char bytes[FILE_SIZE];
    size_t done = 0;

    memset(bytes, letter, FILE_SIZE);
    while (done < FILE_SIZE) { /* The loop of the lesson. */
        ssize_t n = write(fd, bytes + done, FILE_SIZE - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            give_up(place, "writing a file");
        done += (size_t)n;
    }
}

/* A crash shall find the old file or the new one. So the old one has to be on the
   disk before anything is changed: its bytes and its name. A file that was written
   long ago is there. Of one that was written just now nobody knows. */
static void sync_old_file(struct place *place)
{
    int fd = openat(place->folder, "file", O_RDWR | O_CLOEXEC);

    if (fd < 0 || fsync(fd) || close(fd) || fsync(place->folder))
        give_up(place, "syncing the old file");
}

/* The new content gets a name of its own. It is in the same folder, since a rename
   can't leave the file system. Nobody else may open it yet: 0600. Then it takes the
   old file's mode over. (Its owner, ACLs and attributes would need the same care.) */
static void write_new_file(struct place *place)
{
    struct stat old;
    int fd = openat(place->folder, ".file.new",
                    O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0)
        give_up(place, "creating the new file");
    place->new_file = fd;
    fill(place, fd, FOUND_NEW);
    if (fstatat(place->folder, "file", &old, 0) ||
        fchmod(fd, old.st_mode & 07777))
        give_up(place, "giving the new file the old one's mode");
}

/* The bytes first, and only then the name that leads to them. */
static void sync_new_file(struct place *place)
{
    if (fsync(place->new_file))
        give_up(place, "syncing the new file");
}

/* The name passes from one file to the other at once. No other process finds it
   missing, or half a file. rename(2) promises that to processes. That a crash finds
   one of the two as well is the work of the file system's journal. */
static void rename_it(struct place *place)
{
    if (renameat(place->folder, ".file.new", place->folder, "file"))
        give_up(place, "renaming the new file");
}

/* A name is data too. It belongs to the folder, and not to the file. */
static void sync_folder(struct place *place)
{
    if (fsync(place->folder))
        give_up(place, "syncing the folder");
}

/* How not to: these bytes are gone before the first new one is written. */
static void truncate_it(struct place *place)
{
    place->new_file =
        openat(place->folder, "file", O_RDWR | O_TRUNC | O_CLOEXEC);
    if (place->new_file < 0)
        give_up(place, "opening the file");
}

static void overwrite_it(struct place *place)
{
    fill(place, place->new_file, FOUND_NEW);
}

/* --- The pattern, and the ways that are wrong ------------------------------ */

enum { MOST = 5 };

static const struct step {
    const char *name;
    void (*take)(struct place *place);
} sync_old = {"sync the old file", sync_old_file},
  write_new = {"write the new file", write_new_file},
  sync_new = {"sync the new file", sync_new_file},
  renamed = {"rename", rename_it}, folder = {"sync the folder", sync_folder},
  truncated = {"open with O_TRUNC", truncate_it},
  overwrite = {"write", overwrite_it};

static const struct way {
    const char *title;
    const struct step *steps[MOST]; /* NULL after the last. */
    const char *recorded; /* For each step, what a run as root has found after a
                             crash, at once and later: letters of crash.h. */
    const char *option;   /* For mounting; or NULL. */
} ways[] = {
    {"All steps",
     {&sync_old, &write_new, &sync_new, &renamed, &folder},
     .recorded = "oo oo oo on nn"},
    {"The old file not synced",
     {&write_new, &sync_new, &renamed, &folder},
     .recorded = "-e ee en nn"},
    {"The new file not synced",
     {&sync_old, &write_new, &renamed, &folder},
     .recorded = "oo oo on nn"},
    {"The same, mounted with noauto_da_alloc",
     {&sync_old, &write_new, &renamed, &folder},
     .recorded = "oo oo oe ee",
     .option = "noauto_da_alloc"},
    {"The folder not synced",
     {&sync_old, &write_new, &sync_new, &renamed},
     .recorded = "oo oo oo on"},
    {"Overwritten in place",
     {&sync_old, &truncated, &overwrite, &sync_new},
     .recorded = "oo oe oe nn"},
};

/* --- Around it ------------------------------------------------------------- */

/* What the name leads to after a step: now, and after a crash. */
struct seen {
    char now, crashed, crashed_later;
};

/* The crashes that come later need a run of their own: to let time go by changes what
   is on the disk. */
static void go(const struct way *way, bool later, struct seen *seen)
{
    struct place place = {.folder = crash_folder(way->option, keep)};
    int old = openat(place.folder, "file",
                     O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    if (old < 0)
        err(1, "creating the old file");
    fill(&place, old, FOUND_OLD);
    if (close(old))
        err(1, "closing the old file");
    for (int i = 0; i < MOST && way->steps[i]; i++) {
        way->steps[i]->take(&place);
        seen[i].now = crash_look(place.folder);
        if (later)
            seen[i].crashed_later = crash_later(place.folder);
        else
            seen[i].crashed = crash_now(place.folder);
    }
    if (close(place.new_file))
        err(1, "closing the new file");
    crash_folder_close(place.folder);
}

static void show(const struct way *way, const struct seen *seen)
{
    const char *recorded = way->recorded;

    printf("\n%s\n", way->title);
    for (int i = 0; i < MOST && way->steps[i]; i++, seen++, recorded += 3)
        printf("  %-18s  %-8s  %-8s  %s\n", way->steps[i]->name,
               crash_word(seen->now),
               crash_word(seen->crashed ? seen->crashed : recorded[0]),
               crash_word(seen->crashed ? seen->crashed_later : recorded[1]));
}

int main(int argc, char **argv)
{
    struct seen seen[MOST];

    _Static_assert(sizeof(ways) / sizeof(ways[0]) == 6, "--ways");
    args_parse(argc, argv, &program);
    if (keep) {
        go(&ways[0], false, seen);
        return 0;
    }
    crash_begin();
    printf("\n%-20s  %-8s  %s\n%-20s  %-8s  %-8s  %s\n", "", "",
           "after a crash", "", "now", "at once", "later");
    for (unsigned i = 0; i < shown; i++) {
        go(&ways[i], false, seen);
        go(&ways[i], true, seen);
        show(&ways[i], seen);
    }
    crash_end();
    return 0;
}
