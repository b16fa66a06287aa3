#include "args.h"

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* CMake knows better. */
#ifndef SAMPLE_FILE
#define SAMPLE_FILE "build/sample.data"
#endif
#ifndef MAKE_SAMPLE
#define MAKE_SAMPLE "./tour 01"
#endif

const char args_no_sample[] = "no sample file yet; " MAKE_SAMPLE " makes it";

enum {
    SIZE_MOST = 16 << 20,
    TOTAL_MOST = 1 << 30, /* All the blocks are in memory at once. */
    KNOBS_MOST = 16,
    OPTION_HELP = 256, /* Options without a letter start past the letters. */
    OPTION_TRACE,
    OPTION_CHECK,
    OPTION_KNOB
};

/* The option as the usage shows it: "--entries N", "--with WORD", "--relaxed".
   `text` has room for 40 characters. */
static const char *option_text(const struct knob *knob, char *text)
{
    bool alone = knob->kind == KNOB_IS_SWITCH;

    snprintf(text, 40, "--%s%s%s", knob->name, alone ? "" : " ",
             alone ? "" : knob->argument);
    return text;
}

/* One item of the usage line, in the next line where this one is full. */
static int usage_item(FILE *out, int column, const char *text)
{
    if (column + (int)strlen(text) + 3 > 80)
        column = fprintf(out, "\n      ") - 1;
    return column + fprintf(out, " [%s]", text);
}

static void usage_line(FILE *out, const struct program *program)
{
    int column = fprintf(out, "usage: %s", program->name);
    char text[40];

    if (program->reads_blocks) {
        column = usage_item(out, column, "-n N");
        column = usage_item(out, column, "-s SIZE");
        column = usage_item(out, column, "--trace FILE");
    }
    for (const struct knob *k = program->knobs; k && k->name; k++)
        column = usage_item(out, column, option_text(k, text));
    if (program->takes_file)
        usage_item(out, column, "FILE");
    if (program->copies)
        usage_item(out, column, "SRC DST");
    fputc('\n', out);
}

static void knob_help(const struct knob *knob)
{
    char text[40];

    printf("  %-14s %s", option_text(knob, text), knob->help);
    if (knob->kind == KNOB_IS_WORD) {
        for (unsigned i = 0; knob->words[i]; i++)
            printf("%s%s", i == 0 ? ": " : ", ", knob->words[i]);
        printf(" (%s)", knob->words[*knob->value]);
    } else if (knob->kind != KNOB_IS_TEXT && knob->kind != KNOB_IS_SWITCH) {
        double unit = knob->kind == KNOB_IS_SECONDS ? 1000 : 1;
        printf(", %.10g to %.10g", knob->least / unit, knob->most / unit);
        if (*knob->value >= knob->least && *knob->value <= knob->most)
            printf(" (%.10g)", *knob->value / unit);
    }
    putchar('\n');
}

static void help(const struct program *program)
{
    usage_line(stdout, program);
    printf("\n%s\n\n", program->does);
    if (program->takes_file)
        puts("  FILE           any regular file; the sample file by default");
    if (program->copies)
        puts("  SRC DST        what to copy, and where to");
    if (program->reads_blocks)
        puts("  -n N           how many blocks, 1 to 256 (8)\n"
             "  -s SIZE        bytes in a block, K and M allowed (64K)\n"
             "  --trace FILE   write the timeline as Chrome trace events");
    for (const struct knob *k = program->knobs; k && k->name; k++)
        knob_help(k);
    puts("  --check        only say whether this machine can show it\n"
         "  --help         this text");
    printf("\nexample: %s%s\n", program->name,
           program->takes_file ? " /usr/bin/cmake"
           : program->copies   ? " /usr/bin/cmake /tmp/cmake"
                               : "");
    printf("page:    chapters/%s/README.md\n",
           program->page ? program->page : program->name);
}

void args_wrong(const struct program *program, const char *what, ...)
{
    va_list arguments;

    va_start(arguments, what);
    vwarnx(what, arguments);
    va_end(arguments);
    usage_line(stderr, program);
    exit(2);
}

/* A whole number, with K or M after it where `units`; args_wrong() outside the
   range. strtoul() takes signs and blanks, so the first character is looked
   at before. */
static size_t number(const struct program *program, const char *option,
                     const char *text, size_t least, size_t most, bool units)
{
    char *end = (char *)text;
    unsigned long value = 0;

    errno = 0;
    if (*text >= '0' && *text <= '9')
        value = strtoul(text, &end, 10);
    unsigned shift = 0;
    if (units && end != text && *end == 'K')
        shift = 10;
    else if (units && end != text && *end == 'M')
        shift = 20;
    end += shift != 0;

    if (end == text || *end != '\0')
        args_wrong(program, "%s: '%s' is not a number", option, text);
    if (errno || value > most >> shift || value << shift < least)
        args_wrong(program, "%s: %s is out of range, %zu to %zu", option, text,
                   least, most);
    return value << shift;
}

/* Seconds, as milliseconds. */
static unsigned seconds(const struct program *program, const char *option,
                        const char *text, const struct knob *knob)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end != '\0' ||
        strspn(text, "0123456789.") < strlen(text))
        args_wrong(program, "%s: '%s' is not a number", option, text);
    if (value * 1000 > knob->most || value * 1000 < knob->least)
        args_wrong(program, "%s: %s is out of range, %.10g to %.10g", option,
                   text, knob->least / 1e3, knob->most / 1e3);
    return (unsigned)(value * 1000 + 0.5);
}

/* Give the knob what the command line says; `text` is NULL for a switch. */
static void turn(const struct program *program, const struct knob *knob,
                 const char *text)
{
    char option[32];

    snprintf(option, sizeof(option), "--%s", knob->name);
    if (knob->kind == KNOB_IS_SWITCH) {
        *knob->value = 1;
    } else if (knob->kind == KNOB_IS_TEXT) {
        *knob->text = text;
    } else if (knob->kind == KNOB_IS_SECONDS) {
        *knob->value = seconds(program, option, text, knob);
    } else if (knob->kind != KNOB_IS_WORD) {
        *knob->value = (unsigned)number(program, option, text, knob->least,
                                        knob->most, knob->kind == KNOB_IS_SIZE);
    } else {
        unsigned i = 0;
        while (knob->words[i] && strcmp(knob->words[i], text) != 0)
            i++;
        if (!knob->words[i])
            args_wrong(program, "%s: '%s' is not one of its words; see --help",
                       option, text);
        *knob->value = i;
    }
}

/* stdout is buffered: that the text has arrived is known only once it is
   closed. Without this, `program > /dev/full` would be a success. */
static void close_stdout(void)
{
    bool failed = ferror(stdout);

    errno = 0;
    if (fclose(stdout) == 0 && !failed)
        return;
    if (errno)
        warn("writing the output");
    else /* An earlier write failed, and its errno is long gone. */
        warnx("writing the output");
    _exit(1);
}

struct args args_parse(int argc, char **argv, const struct program *program)
{
    struct args args = {
        .file = SAMPLE_FILE, .sample = true, .count = 8, .size = 64 << 10};
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct option options[4 + KNOBS_MOST] = {
        {"help", no_argument, NULL, OPTION_HELP},
        {"check", no_argument, NULL, OPTION_CHECK}};
    unsigned known = 2;

    /* A locale takes memory: not for a tool that draws nothing. */
    if (!program->copies)
        setlocale(LC_CTYPE, "");
    /* A file that outgrows RLIMIT_FSIZE: let write() say so, instead of dying in
       the middle of it. */
    signal(SIGXFSZ, SIG_IGN);
    if (atexit(close_stdout))
        errx(1, "atexit: no memory");

    if (program->reads_blocks)
        options[known++] =
            (struct option){"trace", required_argument, NULL, OPTION_TRACE};
    const struct knob *knobs = program->knobs;
    for (int i = 0; knobs && knobs[i].name && i < KNOBS_MOST; i++)
        options[known++] = (struct option){
            knobs[i].name,
            knobs[i].kind == KNOB_IS_SWITCH ? no_argument : required_argument,
            NULL, OPTION_KNOB + i};

    /* The colon in front makes getopt tell a missing argument from an unknown
       option, and leaves the message to us. */
    const char *letters = program->reads_blocks ? ":n:s:" : ":";
    opterr = 0;
    for (int option;
         (option = getopt_long(argc, argv, letters, options, NULL)) != -1;) {
        switch (option) {
        case 'n':
            args.count =
                (unsigned)number(program, "-n", optarg, 1, BLOCKS_MOST, false);
            break;
        case 's':
            args.size = number(program, "-s", optarg, page, SIZE_MOST, true);
            if (args.size % page)
                args_wrong(program,
                           "-s: %s is no multiple of the page size, %zu",
                           optarg, page);
            break;
        case OPTION_TRACE:
            args.trace = optarg;
            break;
        case OPTION_CHECK:
            args.check = true;
            break;
        case OPTION_HELP:
            help(program);
            exit(0);
        case ':':
            args_wrong(program, "%s needs an argument", argv[optind - 1]);
        case '?':
            if (optopt != 0 && optopt < OPTION_HELP)
                args_wrong(program, "unknown option -%c", optopt);
            args_wrong(program, "unknown option %s", argv[optind - 1]);
        default:
            turn(program, &knobs[option - OPTION_KNOB], optarg);
        }
    }
    if (args.count > TOTAL_MOST / args.size)
        args_wrong(program, "-n %u times -s %zu is more than 1 GiB", args.count,
                   args.size);
    if (optind < argc && (program->takes_file || program->copies)) {
        args.file = argv[optind++];
        args.sample = false;
    }
    if (program->copies && !args.sample) {
        if (optind == argc)
            args_wrong(program, "where is %s to be copied to?", args.file);
        args.destination = argv[optind++];
    }
    if (optind < argc)
        args_wrong(program, "too many arguments: %s", argv[optind]);
    return args;
}

void cannot_show(const char *why, ...)
{
    va_list arguments;

    va_start(arguments, why);
    vwarnx(why, arguments);
    va_end(arguments);
    exit(EXIT_CANNOT_SHOW);
}
