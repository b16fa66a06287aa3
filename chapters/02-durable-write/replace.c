/*
 * 02-replace · A file replaced whole
 *
 * Replaces the content of a file, step by step, as databases and editors do. It
 * leaves out one step after the other, and looks each time what would be there
 * after a crash. For that it copies the disk and mounts the copy.
 *
 * Watch for: the rows with an arrow. Everybody sees the old file or the new one, and a
 * crash would leave neither.
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
#include <stdbool.h>
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

/* The folder with the file, and the file that we write to. */
struct place {
    int folder;
    int file;
    bool half_done; /* ".file.new" is there, and we have made it. */
};

/* Something has failed. Remove our own ".file.new", and only ours: another process may be
   saving, too. Before the rename the old file stays. After it, nobody knows which of the
   two a crash would find. */
__attribute__((noreturn)) static void give_up(const struct place *place,
                                              const char *what)
{
    int error = errno;

    if (place->half_done)
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
    while (done < FILE_SIZE) { /* As write_fully() in the lesson. */
        ssize_t n = write(fd, bytes + done, FILE_SIZE - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENOSPC;
        if (n <= 0)
            give_up(place, "writing a file");
        done += (size_t)n;
    }
}

/* A crash shall find the old file or the new one. So the old one has to be on the
   disk before anything is changed: its bytes and its name. If it was written long ago,
   it is there, and this step finds nothing to do. fsync(2) needs no right to write. */
static void sync_old_file(struct place *place)
{
    int fd = openat(place->folder, "file", O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) || close(fd) || fsync(place->folder))
        give_up(place, "syncing the old file");
}

/* The new file gets the mode of the old one, but no set-user-ID bit, since the owner may
   be another now. Owner, ACLs and attributes would need the same care. */
static void take_mode(const struct place *place)
{
    struct stat old;

    if (fstatat(place->folder, "file", &old, 0) ||
        fchmod(place->file, old.st_mode & 0777))
        give_up(place, "giving the new file the old one's mode");
}

/* The new content gets a name of its own. It is in the same folder, since a rename
   can't leave the file system. O_EXCL: if there is one already, it is not ours. Nobody
   else may open it yet: 0600. */
static void write_new_file(struct place *place)
{
    place->file = openat(place->folder, ".file.new",
                         O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (place->file < 0)
        give_up(place, "creating the new file");
    place->half_done = true;
    fill(place, place->file, FOUND_NEW);
    take_mode(place);
}

/* The bytes first, and only then the name that leads to them. */
static void sync_new_file(struct place *place)
{
    if (fsync(place->file))
        give_up(place, "syncing the new file");
}

/* The name passes from one file to the other at once. No other process finds it
   missing, or half a file: rename(2). After a crash it is the journal that keeps this
   promise. */
static void rename_new_file(struct place *place)
{
    if (renameat(place->folder, ".file.new", place->folder, "file"))
        give_up(place, "renaming the new file");
    place->half_done = false;
}

/* A name is data too. It belongs to the folder, and not to the file. */
static void sync_folder(struct place *place)
{
    if (fsync(place->folder))
        give_up(place, "syncing the folder");
}

/* How not to: these bytes are gone before the first new one is written. */
static void truncate_file(struct place *place)
{
    place->file = openat(place->folder, "file", O_RDWR | O_TRUNC | O_CLOEXEC);
    if (place->file < 0)
        give_up(place, "opening the file");
}

static void overwrite_file(struct place *place)
{
    fill(place, place->file, FOUND_NEW);
}

/* --- The pattern, and the ways that are wrong ------------------------------ */

enum { MOST = 5 };

static const struct step {
    const char *name;
    void (*take)(struct place *place);
} sync_old = {"sync the old file", sync_old_file},
  write_new = {"write the new file", write_new_file},
  sync_new = {"sync the new file", sync_new_file},
  rename_new = {"rename", rename_new_file},
  sync_name = {"sync the folder", sync_folder},
  truncate_old = {"open with O_TRUNC", truncate_file},
  overwrite_old = {"write", overwrite_file};

/* `recorded` is what a run as root has found, for those who may not mount: for each
   step, after a crash at once and later. The letters are those of crash.h. */
static const struct way {
    const char *title, *recorded;
    const struct step *steps[MOST]; /* NULL after the last. */
    const char *option;             /* For mounting; or NULL. */
} ways[] = {
    {"All steps", "oo oo oo on nn",
     .steps = {&sync_old, &write_new, &sync_new, &rename_new, &sync_name}},
    {"The old file not synced", "-e ee en nn",
     .steps = {&write_new, &sync_new, &rename_new, &sync_name}},
    {"The new file not synced, and ext4 does not help", "oo oo oe ee",
     .steps = {&sync_old, &write_new, &rename_new, &sync_name},
     .option = "noauto_da_alloc"},
    {"The new file not synced, and ext4 helps", "oo oo on nn",
     .steps = {&sync_old, &write_new, &rename_new, &sync_name}},
    {"The folder not synced", "oo oo oo on",
     .steps = {&sync_old, &write_new, &sync_new, &rename_new}},
    {"Overwritten in place", "oo oe oe",
     .steps = {&sync_old, &truncate_old, &overwrite_old}},
};

/* --- Around it ------------------------------------------------------------- */

/* What the name leads to after a step: now, and after a crash. */
struct seen {
    char now, at_once, later;
};

/* The crashes that come later need a run of their own: to let time go by changes what
   is on the disk. */
static void go(const struct way *way, bool later, struct seen *seen)
{
    struct place place = {.folder = crash_folder(way->option, keep),
                          .file = -1};
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
        crash_settle();
        if (later)
            seen[i].later = crash_later(place.folder);
        else
            seen[i].at_once = crash_now();
    }
    if (place.file >= 0 && close(place.file))
        err(1, "closing the new file");
    crash_folder_close(place.folder);
}

static void use_recorded(struct seen *seen, const char *letters)
{
    for (int i = 0; letters[0]; i++, letters += letters[2] ? 3 : 2) {
        seen[i].at_once = letters[0];
        seen[i].later = letters[1];
    }
}

static bool is_whole(char found)
{
    return found == FOUND_OLD || found == FOUND_NEW;
}

static void show(const struct way *way, const struct seen *seen)
{
    printf("\n%s\n", way->title);
    for (int i = 0; i < MOST && way->steps[i]; i++, seen++) {
        bool lost = !is_whole(seen->at_once) || !is_whole(seen->later);

        printf("  %-18s  %-8s  %-8s  ", way->steps[i]->name,
               crash_word(seen->now), crash_word(seen->at_once));
        printf(lost ? "%-5s   <- neither\n" : "%s\n", crash_word(seen->later));
    }
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
    bool found = crash_begin();
    printf("\n%-20s  %-8s  %s\n%-20s  %-8s  %-8s  %s\n", "", "",
           "after a crash", "", "now", "at once", "later");
    for (unsigned i = 0; i < shown; i++) {
        go(&ways[i], false, seen);
        go(&ways[i], true, seen);
        if (!found)
            use_recorded(seen, ways[i].recorded);
        show(&ways[i], seen);
    }
    crash_end();
    return 0;
}
