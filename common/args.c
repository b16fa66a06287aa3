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
    MAX_SIZE = 16 << 20,
    MAX_TOTAL = 1 << 30, /* All the blocks are in memory at once. */
    MAX_OPTIONS = 16,
    CODE_HELP = 256, /* Options without a letter start past the letters. */
    CODE_TRACE,
    CODE_CHECK,
    CODE_OWN
};

/* The option as the usage shows it: "--entries N", "--with WORD", "--relaxed".
   `text` has room for 40 characters. */
static const char *option_text(const struct program_option *option, char *text)
{
    bool alone = option->kind == OPTION_IS_SWITCH;

    snprintf(text, 40, "--%s%s%s", option->name, alone ? "" : " ",
             alone ? "" : option->argument);
    return text;
}

/* One item of the usage line, in the next line where this one is full. */
static int usage_item(FILE *out, int column, const char *text)
{
    if (column + (int)strlen(text) + 3 > 80)
        column = fprintf(out, "\n      ") - 1;
    return column + fprintf(out, " [%s]", text);
}

static bool traces(const struct program *program)
{
    return program->reads_blocks || program->traces;
}

static void usage_line(FILE *out, const struct program *program)
{
    int column = fprintf(out, "usage: %s", program->name);
    char text[40];

    if (program->reads_blocks) {
        column = usage_item(out, column, "-n N");
        column = usage_item(out, column, "-s SIZE");
    }
    if (traces(program))
        column = usage_item(out, column, "--trace FILE");
    for (const struct program_option *k = program->options; k && k->name; k++)
        column = usage_item(out, column, option_text(k, text));
    if (program->takes_file)
        usage_item(out, column, "FILE");
    if (program->copies)
        usage_item(out, column, "SRC DST");
    fputc('\n', out);
}

static void option_help(const struct program_option *option)
{
    char text[40];

    printf("  %-14s %s", option_text(option, text), option->help);
    if (option->kind == OPTION_IS_WORD) {
        for (unsigned i = 0; option->words[i]; i++)
            printf("%s%s", i == 0 ? ": " : ", ", option->words[i]);
        printf(" (%s)", option->words[*option->value]);
    } else if (option->kind != OPTION_IS_TEXT &&
               option->kind != OPTION_IS_SWITCH) {
        double unit = option->kind == OPTION_IS_SECONDS ? 1000 : 1;
        printf(", %.10g to %.10g", option->min / unit, option->max / unit);
        if (*option->value >= option->min && *option->value <= option->max)
            printf(" (%.10g)", *option->value / unit);
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
             "  -s SIZE        bytes in a block, K and M allowed (64K)");
    if (traces(program))
        puts("  --trace FILE   write the timeline as Chrome trace events");
    for (const struct program_option *k = program->options; k && k->name; k++)
        option_help(k);
    puts("  --check        only say whether this machine can show it\n"
         "  --help         this text");
    printf("\nexample: %s%s\n", program->name,
           program->takes_file ? " build/sample.data"
           : program->copies   ? " build/sample.data build/copy"
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
                     const char *text, size_t min, size_t max, bool units)
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
    if (errno || value > max >> shift || value << shift < min)
        args_wrong(program, "%s: %s is out of range, %zu to %zu", option, text,
                   min, max);
    return value << shift;
}

/* Seconds, as milliseconds. */
static unsigned seconds(const struct program *program, const char *name,
                        const char *text, const struct program_option *option)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end != '\0' ||
        strspn(text, "0123456789.") < strlen(text))
        args_wrong(program, "%s: '%s' is not a number", name, text);
    if (value * 1000 > option->max || value * 1000 < option->min)
        args_wrong(program, "%s: %s is out of range, %.10g to %.10g", name,
                   text, option->min / 1e3, option->max / 1e3);
    return (unsigned)(value * 1000 + 0.5);
}

/* Which of the words of this option it is. */
static unsigned word(const struct program *program, const char *name,
                     const char *text, const struct program_option *option)
{
    for (unsigned i = 0; option->words[i]; i++)
        if (strcmp(option->words[i], text) == 0)
            return i;
    args_wrong(program, "%s: '%s' is not one of its words; see --help", name,
               text);
}

/* Give the option what the command line says; `text` is NULL for a switch. */
static void set(const struct program *program,
                const struct program_option *option, const char *text)
{
    char name[32];

    snprintf(name, sizeof(name), "--%s", option->name);
    switch (option->kind) {
    case OPTION_IS_SWITCH:
        *option->value = 1;
        break;
    case OPTION_IS_TEXT:
        *option->text = text;
        break;
    case OPTION_IS_SECONDS:
        *option->value = seconds(program, name, text, option);
        break;
    case OPTION_IS_WORD:
        *option->value = word(program, name, text, option);
        break;
    case OPTION_IS_NUMBER:
    case OPTION_IS_SIZE:
        *option->value =
            (unsigned)number(program, name, text, option->min, option->max,
                             option->kind == OPTION_IS_SIZE);
    }
}

void args_flush(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return;
    warn("writing the output");
    _exit(1);
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

/* What the command line can do to the process besides: see args.h. */
static void prepare(const struct program *program)
{
    /* A locale takes memory: not for a tool that draws nothing. */
    if (!program->copies)
        setlocale(LC_CTYPE, "");
    /* A file that outgrows RLIMIT_FSIZE: let write() say so, instead of dying in
       the middle of it. */
    signal(SIGXFSZ, SIG_IGN);
    if (atexit(close_stdout))
        errx(1, "atexit: no memory");
}

/* All long options, as getopt_long() wants them. */
static void list_options(const struct program *program, struct option *known)
{
    const struct program_option *own = program->options;

    *known++ = (struct option){"help", no_argument, NULL, CODE_HELP};
    *known++ = (struct option){"check", no_argument, NULL, CODE_CHECK};
    if (traces(program))
        *known++ =
            (struct option){"trace", required_argument, NULL, CODE_TRACE};
    for (int i = 0; own && own[i].name && i < MAX_OPTIONS; i++) {
        bool alone = own[i].kind == OPTION_IS_SWITCH;
        *known++ = (struct option){own[i].name,
                                   alone ? no_argument : required_argument,
                                   NULL, CODE_OWN + i};
    }
    *known = (struct option){0};
}

static void blocks_option(const struct program *program, int letter,
                          struct args *args)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    if (letter == 'n') {
        args->count =
            (unsigned)number(program, "-n", optarg, 1, MAX_BLOCKS, false);
        return;
    }
    args->size = number(program, "-s", optarg, page, MAX_SIZE, true);
    if (args->size % page)
        args_wrong(program, "-s: %s is no multiple of the page size, %zu",
                   optarg, page);
}

static void take_options(int argc, char **argv, const struct program *program,
                         struct args *args)
{
    /* The colon in front makes getopt tell a missing argument from an unknown
       option, and leaves the message to us. */
    const char *letters = program->reads_blocks ? ":n:s:" : ":";
    struct option known[4 + MAX_OPTIONS];

    list_options(program, known);
    opterr = 0;
    for (int code;
         (code = getopt_long(argc, argv, letters, known, NULL)) != -1;) {
        switch (code) {
        case 'n':
        case 's':
            blocks_option(program, code, args);
            break;
        case CODE_TRACE:
            args->trace = optarg;
            break;
        case CODE_CHECK:
            args->check = true;
            break;
        case CODE_HELP:
            help(program);
            exit(0);
        case ':':
            args_wrong(program, "%s needs an argument", argv[optind - 1]);
        case '?':
            if (optopt != 0 && optopt < CODE_HELP)
                args_wrong(program, "unknown option -%c", optopt);
            args_wrong(program, "unknown option %s", argv[optind - 1]);
        default:
            set(program, &program->options[code - CODE_OWN], optarg);
        }
    }
}

/* Takes what follows the options: FILE, or SRC and DST. */
static void take_files(int argc, char **argv, const struct program *program,
                       struct args *args)
{
    if (optind < argc && (program->takes_file || program->copies)) {
        args->file = argv[optind++];
        args->sample = false;
    }
    if (program->copies && !args->sample) {
        if (optind == argc)
            args_wrong(program, "where is %s to be copied to?", args->file);
        args->destination = argv[optind++];
    }
    if (optind < argc)
        args_wrong(program, "too many arguments: %s", argv[optind]);
}

struct args args_parse(int argc, char **argv, const struct program *program)
{
    struct args args = {
        .file = SAMPLE_FILE, .sample = true, .count = 8, .size = 64 << 10};

    prepare(program);
    take_options(argc, argv, program, &args);
    if (args.count > MAX_TOTAL / args.size)
        args_wrong(program, "-n %u times -s %zu is more than 1 GiB", args.count,
                   args.size);
    take_files(argc, argv, program, &args);
    if (program->ready)
        program->ready(&args);
    if (args.check)
        exit(0);
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
