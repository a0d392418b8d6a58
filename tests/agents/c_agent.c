/* The C agent of the cross-language tests; the protocol is in tests/PROTOCOL.md. */
#define _POSIX_C_SOURCE 200809L

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <trop.h>

#define MOST_FIELDS 16

struct field {
    const char *name;
    const char *value; /* decoded */
};

struct command {
    const char *verb;
    size_t count;
    struct field fields[MOST_FIELDS];
};

static trop_registry *registry;

/* What the test runner did wrong, or the machine; never something the library said. */
static void die(const char *what)
{
    fprintf(stderr, "c_agent: %s\n", what);
    exit(1);
}

/* Commands */

static const char *get(const struct command *command, const char *name)
{
    for (size_t i = 0; i < command->count; i++)
        if (strcmp(command->fields[i].name, name) == 0)
            return command->fields[i].value;
    return NULL;
}

static bool is(const struct command *command, const char *name, const char *value)
{
    const char *given = get(command, name);
    return given != NULL && strcmp(given, value) == 0;
}

/* The nearest number a field of the library's options can hold; -1, which is "not given" there, when absent. */
static int32_t get_number(const struct command *command, const char *name)
{
    const char *text = get(command, name);
    if (text == NULL)
        return -1;
    char *end;
    long long number = strtoll(text, &end, 10);
    if (*text == '\0' || *end != '\0')
        die("a field is not a number");
    return number < INT32_MIN ? INT32_MIN : number > INT32_MAX ? INT32_MAX : (int32_t)number;
}

static int hex(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    die("malformed percent encoding");
    return 0;
}

/* In place: decoding never makes a text longer. A decoded NUL ends the text, as it does for every C program. */
static void decode(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        if (*from == '%') {
            int high = hex(from[1]);
            *to++ = (char)(high * 16 + hex(from[2]));
            from += 2;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
}

/* Cuts the line into pieces, in place. */
static void parse(char *line, struct command *command)
{
    command->count = 0;
    command->verb = line;
    char *tab = strchr(line, '\t');
    while (tab != NULL) {
        *tab = '\0';
        char *name = tab + 1;
        tab = strchr(name, '\t');
        if (tab != NULL)
            *tab = '\0';
        char *equals = strchr(name, '=');
        if (equals == NULL || command->count == MOST_FIELDS)
            die("malformed command");
        *equals = '\0';
        decode(equals + 1);
        command->fields[command->count].name = name;
        command->fields[command->count].value = equals + 1;
        command->count++;
    }
}

/* Answers */

static void put(const char *name, const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/~";
    printf("\t%s=", name);
    for (; *text != '\0'; text++) {
        if (strchr(plain, *text) != NULL)
            putchar(*text);
        else
            printf("%%%02X", (unsigned)(unsigned char)*text);
    }
}

static void put_if(const char *name, const char *text)
{
    if (text != NULL)
        put(name, text);
}

static void answer_error(trop_error *error)
{
    printf("error\tcode=%d", (int)trop_error_code(error));
    put("name", trop_error_name(error));
    put_if("argument", trop_error_argument(error));
    put("message", trop_error_message(error));
    putchar('\n');
    trop_error_free(error);
}

/* Verbs */

static void open_registry(const struct command *command)
{
    trop_registry_free(registry);
    registry = NULL;
    trop_open_options options = TROP_OPEN_OPTIONS_INIT;
    options.data_dir = get(command, "data_dir");
    options.excluded = get(command, "excluded");
    options.busy_timeout_ms = get_number(command, "busy_timeout_ms");
    options.ports_min = get_number(command, "ports_min");
    options.ports_max = get_number(command, "ports_max");
    if (is(command, "create", "0"))
        options.flags |= TROP_OPEN_NO_CREATE;
    trop_error *error;
    if (trop_open(&options, &registry, &error) != TROP_OK)
        answer_error(error);
    else
        puts("ok");
}

static void reserve(const struct command *command)
{
    trop_reserve_options options = TROP_RESERVE_OPTIONS_INIT;
    options.path = get(command, "path");
    options.tag = get(command, "tag");
    options.port = get_number(command, "port");
    options.min = get_number(command, "min");
    options.max = get_number(command, "max");
    if (is(command, "allow_unrelated_path", "0"))
        options.flags |= TROP_RESERVE_REFUSE_UNRELATED_PATH;
    trop_reservation *reservation;
    trop_error *error;
    if (trop_reserve(registry, &options, &reservation, &error) != TROP_OK) {
        answer_error(error);
        return;
    }
    printf("ok\tport=%d", trop_reservation_port(reservation));
    put("path", trop_reservation_path(reservation));
    put_if("tag", trop_reservation_tag(reservation));
    printf("\tcreated=%d", (int)trop_reservation_created(reservation));
    put_if("refusal", trop_reservation_refusal(reservation));
    putchar('\n');
    trop_reservation_free(reservation);
}

static void storm(const struct command *command)
{
    static uint16_t ports[65536];
    int32_t count = get_number(command, "count");
    if (count < 0 || count > 65536)
        die("storm needs a count from 0 to 65536");
    trop_reserve_options options = TROP_RESERVE_OPTIONS_INIT;
    options.path = get(command, "path");
    for (int32_t i = 0; i < count; i++) {
        char tag[16];
        snprintf(tag, sizeof(tag), "%d", (int)i);
        options.tag = tag;
        trop_reservation *reservation;
        trop_error *error;
        if (trop_reserve(registry, &options, &reservation, &error) != TROP_OK) {
            answer_error(error);
            return;
        }
        ports[i] = trop_reservation_port(reservation);
        trop_reservation_free(reservation);
    }
    printf("ok\tports=");
    for (int32_t i = 0; i < count; i++)
        printf("%s%d", i == 0 ? "" : "%2C", ports[i]);
    putchar('\n');
}

static void release(const struct command *command)
{
    trop_release_options options = TROP_RELEASE_OPTIONS_INIT;
    options.path = get(command, "path");
    options.tag = get(command, "tag");
    if (is(command, "untagged_only", "1"))
        options.flags |= TROP_RELEASE_UNTAGGED_ONLY;
    uint64_t count;
    trop_error *error;
    if (trop_release(registry, &options, &count, &error) != TROP_OK)
        answer_error(error);
    else
        printf("ok\tcount=%llu\n", (unsigned long long)count);
}

static void list(void)
{
    char *json;
    trop_error *error;
    if (trop_list_json(registry, &json, &error) != TROP_OK) {
        answer_error(error);
        return;
    }
    printf("ok");
    put("json", json);
    putchar('\n');
    trop_string_free(json);
}

static void run(const struct command *command)
{
    if (strcmp(command->verb, "open") == 0) {
        open_registry(command);
    } else if (strcmp(command->verb, "reserve") == 0) {
        reserve(command);
    } else if (strcmp(command->verb, "storm") == 0) {
        storm(command);
    } else if (strcmp(command->verb, "release") == 0) {
        release(command);
    } else if (strcmp(command->verb, "list") == 0) {
        list();
    } else if (strcmp(command->verb, "close") == 0) {
        trop_registry_close(registry);
        puts("ok");
    } else {
        die("unknown verb");
    }
}

int main(void)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    while ((length = getline(&line, &capacity, stdin)) > 0) {
        if (line[length - 1] != '\n' || memchr(line, '\0', (size_t)length) != NULL)
            die("malformed line");
        line[length - 1] = '\0';
        struct command command;
        parse(line, &command);
        run(&command);
        if (fflush(stdout) != 0)
            die("cannot write the answer");
    }
    free(line);
    trop_registry_free(registry);
    return 0;
}
