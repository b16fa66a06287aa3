/**
 * @file args.h
 * The command line that all the programs share, and their contract with the
 * shell: exit 0 done, 1 failed, 2 wrong usage, 77 this machine can't show it.
 */
#ifndef ARGS_H
#define ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* On a 32-bit machine an off_t of 32 bits is the default still. */
_Static_assert(sizeof(off_t) == 8,
               "off_t has 32 bits: compile with -D_FILE_OFFSET_BITS=64");

/** Exit status: this machine can't show the lesson. CTest calls it skipped. */
#define EXIT_CANNOT_SHOW 77

/** The most blocks that -n allows. */
enum { MAX_BLOCKS = 256 };

/** What follows the name of an option. */
enum option_kind {
    OPTION_IS_SWITCH,  /**< Nothing. */
    OPTION_IS_NUMBER,  /**< A number. */
    OPTION_IS_SIZE,    /**< Bytes. */
    OPTION_IS_SECONDS, /**< A time. */
    OPTION_IS_WORD,    /**< One of several words. */
    OPTION_IS_TEXT     /**< Any text. */
};

/** An option that only one chapter has; made by one of the macros below. */
struct program_option {
    const char *name;         /**< The long option, without the dashes. */
    const char *help;         /**< What it sets, a few words. */
    enum option_kind kind;    /**< What is to follow it. */
    unsigned *value;          /**< Holds the default, receives what is given. */
    unsigned min;             /**< The smallest number allowed. */
    unsigned max;             /**< The largest number allowed. */
    const char *const *words; /**< The words allowed, NULL behind the last. */
    const char **text;        /**< Receives a text; NULL where none is given. */
    const char *argument;     /**< What the text is, for the usage: FILE. */
};

/** `--NAME N`, a number. A default that is out of range means "not given". */
#define OPTION_NUMBER(name, help, value, min, max)                             \
    {                                                                          \
        name, help, OPTION_IS_NUMBER, value, min, max, NULL, NULL, "N"         \
    }
/** `--NAME SIZE`, bytes; K and M may follow. */
#define OPTION_SIZE(name, help, value, min, max)                               \
    {                                                                          \
        name, help, OPTION_IS_SIZE, value, min, max, NULL, NULL, "SIZE"        \
    }
/** `--NAME S`, seconds with three decimals at most; all three numbers are
 *  milliseconds. */
#define OPTION_SECONDS(name, help, value, min, max)                            \
    {                                                                          \
        name, help, OPTION_IS_SECONDS, value, min, max, NULL, NULL, "S"        \
    }
/** `--NAME WORD`, one of several; the value is which, from 0. */
#define OPTION_WORD(name, help, value, words)                                  \
    {                                                                          \
        name, help, OPTION_IS_WORD, value, 0, 0, words, NULL, "WORD"           \
    }
/** `--NAME ARGUMENT`, any text, which is for the program to understand. */
#define OPTION_TEXT(name, help, text, argument)                                \
    {                                                                          \
        name, help, OPTION_IS_TEXT, NULL, 0, 0, NULL, text, argument           \
    }
/** `--NAME`, with no argument; the value becomes 1. */
#define OPTION_SWITCH(name, help, value)                                       \
    {                                                                          \
        name, help, OPTION_IS_SWITCH, value, 0, 0, NULL, NULL, NULL            \
    }
/** Behind the last option. */
#define OPTION_END                                                             \
    {                                                                          \
        NULL, NULL, OPTION_IS_SWITCH, NULL, 0, 0, NULL, NULL, NULL             \
    }

/** The command line, read. */
struct args {
    const char *file; /**< The FILE; the sample file when none was given. */
    bool sample;      /**< True when that is the sample file. */
    const char *destination; /**< DST, and then `file` is SRC; or NULL. */
    unsigned count; /**< -n: how many blocks, 1 to MAX_BLOCKS; 8 by default. */
    size_t size;    /**< -s: bytes in a block, a multiple of the page size
                         up to 16 MiB; 64 KiB by default. */
    const char *trace; /**< --trace: where to write the timeline, or NULL. */
    bool check;        /**< --check: args_parse() exits after `ready`. */
};

/** What a program says of itself; args_parse() makes the usage from it. */
struct program {
    const char *name;  /**< "01-blocking-read", "02-replace". */
    const char *page;  /**< Its chapter's folder, where `name` is another one:
                            a chapter may have several programs. */
    const char *does;  /**< What it shows, one sentence. */
    bool reads_blocks; /**< Takes -n, -s and --trace. */
    bool traces;       /**< Takes --trace without those. */
    bool takes_file;   /**< Takes a FILE. */
    bool copies;       /**< Takes SRC and DST, both or none; draws nothing that
                            needs a locale. */
    bool main_lanes;   /**< Its passes are drawn by their main lanes alone,
                            unless --lanes asks for all: job.h. */
    unsigned facts;    /**< FACT_ bits of timeline.h that say something here;
                            0 for those that most chapters print. */
    const struct program_option *options; /**< Ends with OPTION_END, or NULL. */
    /** Returns where this machine can show it, else exits through
     *  cannot_show(). It leaves nothing open. NULL: every machine can. */
    void (*ready)(const struct args *args);
};

/** The sample file is not there, and which command makes it. */
extern const char args_no_sample[];

/**
 * Read the command line. `--help` prints the usage and exits 0; what can't be
 * understood prints a message and the usage line to stderr and exits 2. Then
 * asks `ready`, and with `--check` exits 0 once that has returned.
 *
 * It also sets the locale, but where `copies` is set, and sees to it that an
 * error in writing to stdout (a full disk, say) ends the program with a message
 * and status 1.
 *
 * @param argc, argv  main()'s own.
 * @param program     What the program says of itself.
 */
struct args args_parse(int argc, char **argv, const struct program *program);

/**
 * Write out what was printed so far. Exits with a message and status 1 where
 * stdout does not take it: to be called before something is changed that the
 * output speaks of.
 */
void args_flush(void);

/**
 * Exit with status 2: the command line can't be understood; args_parse() has
 * done so for all that it can know. The usage line follows.
 *
 * @param program  As args_parse() had it.
 * @param what     What is wrong, and with which option; printf() style.
 */
__attribute__((noreturn, format(printf, 2, 3))) void
args_wrong(const struct program *program, const char *what, ...);

/**
 * Exit with status 77: this machine can't show the lesson.
 *
 * @param why  What stands in the way, and with which object; printf() style.
 */
__attribute__((noreturn, format(printf, 1, 2))) void
cannot_show(const char *why, ...);

#endif
