/* The C agent of the cross-language tests; the protocol is in tests/PROTOCOL.md. */
#define _POSIX_C_SOURCE 200809L

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <trop.h>

#define MOST_FIELDS 32

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

/* Every lease that was taken, by its handle, and the socket that listens on it or -1. */
static struct lease {
    trop_lease_handle *lease;
    int64_t socket;
} *leases;
static size_t lease_count;

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

/* The flags whose fields have their value. */
struct flag {
    const char *name;
    const char *value;
    uint32_t flag;
};

#define FLAGS(command, table) get_flags((command), (table), sizeof(table) / sizeof((table)[0]))

static uint32_t get_flags(const struct command *command, const struct flag *table, size_t count)
{
    uint32_t flags = 0;
    for (size_t i = 0; i < count; i++)
        if (is(command, table[i].name, table[i].value))
            flags |= table[i].flag;
    return flags;
}

/* The nearest number a field of the library's options can hold; -1, there "not given", when it is absent. */
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

/* In place: decoding never makes a text longer. A decoded NUL ends the text, as for every C program. */
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

/* The text is the library's, to be freed. */
static void answer_json(int32_t status, char *json, trop_error *error)
{
    if (status != TROP_OK) {
        answer_error(error);
        return;
    }
    printf("ok");
    put("json", json);
    putchar('\n');
    trop_string_free(json);
}

static void answer_count(int32_t status, uint64_t count, trop_error *error)
{
    if (status != TROP_OK)
        answer_error(error);
    else
        printf("ok\tcount=%llu\n", (unsigned long long)count);
}

/* JSON */

/* Behind the value, which is well-formed and has no white space between its parts. */
static const char *skip_value(const char *json)
{
    int depth = 0;
    do {
        if (*json == '"') {
            while (*++json != '"')
                json += *json == '\\';
        } else if (*json == '{' || *json == '[') {
            depth++;
        } else if (*json == '}' || *json == ']') {
            depth--;
        }
        json++;
    } while (depth > 0 || (*json != ',' && *json != '}' && *json != ']' && *json != '\0'));
    return json;
}

/* How many elements the array has that is called so in the object. */
static size_t count_elements(const char *object, const char *name)
{
    for (const char *key = object + 1; *key == '"';) {
        const char *value = strchr(key + 1, ':') + 1; /* our keys have no quotes or colons inside */
        if (strncmp(key + 1, name, strlen(name)) == 0 && key[1 + strlen(name)] == '"') {
            size_t count = 0;
            for (value++; *value != ']'; value += *value == ',') {
                value = skip_value(value);
                count++;
            }
            return count;
        }
        key = skip_value(value);
        key += *key == ',';
    }
    die("a list is missing in the library's answer");
    return 0;
}

/* The fields are called as the protocol says, and the lists as the library does. */
static void answer_counts(int32_t status, char *json, trop_error *error, const char *const fields[2],
                          const char *const lists[2])
{
    if (status != TROP_OK) {
        answer_error(error);
        return;
    }
    printf("ok\t%s=%zu\t%s=%zu\n", fields[0], count_elements(json, lists[0]), fields[1],
           count_elements(json, lists[1]));
    trop_string_free(json);
}

struct text {
    char *start;
    size_t length;
};

static void add(struct text *text, const char *more)
{
    size_t length = strlen(more);
    text->start = realloc(text->start, text->length + length + 1);
    if (text->start == NULL)
        die("out of memory");
    memcpy(text->start + text->length, more, length + 1);
    text->length += length;
}

static void add_string(struct text *text, const char *value)
{
    if (value == NULL) {
        add(text, "null");
        return;
    }
    add(text, "\"");
    for (; *value != '\0'; value++) {
        unsigned char byte = (unsigned char)*value;
        char one[8];
        if (byte < ' ' || byte == '"' || byte == '\\')
            snprintf(one, sizeof(one), "\\u%04x", byte);
        else
            snprintf(one, sizeof(one), "%c", byte);
        add(text, one);
    }
    add(text, "\"");
}

static void add_time(struct text *text, int64_t seconds)
{
    time_t at = (time_t)seconds;
    struct tm utc;
    char shown[64];
    if (gmtime_r(&at, &utc) == NULL || strftime(shown, sizeof(shown), "%Y-%m-%d %H:%M:%S", &utc) == 0)
        die("a time is out of range");
    add_string(text, shown);
}

/* The object that a list has for the reservation, or null. */
static void answer_found(int32_t status, trop_reservation *found, trop_error *error)
{
    if (status != TROP_OK) {
        answer_error(error);
        return;
    }
    struct text text = { NULL, 0 };
    char port[40];
    snprintf(port, sizeof(port), "{\"port\":%d,\"path\":", trop_reservation_port(found));
    if (found == NULL) {
        add(&text, "null");
    } else {
        add(&text, port);
        add_string(&text, trop_reservation_path(found));
        add(&text, ",\"tag\":");
        add_string(&text, trop_reservation_tag(found));
        add(&text, ",\"project\":");
        add_string(&text, trop_reservation_project(found));
        add(&text, ",\"task\":");
        add_string(&text, trop_reservation_task(found));
        add(&text, ",\"created_at\":");
        add_time(&text, trop_reservation_created_at(found));
        add(&text, ",\"last_used_at\":");
        add_time(&text, trop_reservation_last_used_at(found));
        add(&text, "}");
    }
    printf("ok");
    put("json", text.start);
    putchar('\n');
    free(text.start);
    trop_reservation_free(found);
}

/* Verbs */

static void open_registry(const struct command *command)
{
    static const struct flag flags[] = {
        { "create", "0", TROP_OPEN_NO_CREATE },
        { "discovery", "0", TROP_OPEN_NO_DISCOVERY },
        { "variables", "0", TROP_OPEN_NO_VARIABLES },
        { "avoid_unsafe_ports", "0", TROP_OPEN_ALLOW_UNSAFE_PORTS },
        { "avoid_unsafe_ports", "1", TROP_OPEN_AVOID_UNSAFE_PORTS },
    };
    trop_registry_free(registry);
    registry = NULL;
    trop_open_options options = TROP_OPEN_OPTIONS_INIT;
    options.flags = FLAGS(command, flags);
    options.data_dir = get(command, "data_dir");
    options.excluded = get(command, "excluded");
    options.busy_timeout_ms = get_number(command, "busy_timeout_ms");
    options.ports_min = get_number(command, "ports_min");
    options.ports_max = get_number(command, "ports_max");
    options.start_dir = get(command, "start_dir");
    options.config_file = get(command, "config_file");
    trop_error *error;
    if (trop_open(&options, &registry, &error) != TROP_OK)
        answer_error(error);
    else
        puts("ok");
}

static void reserve(const struct command *command)
{
    static const struct flag flags[] = {
        { "clear_project", "1", TROP_RESERVE_CLEAR_PROJECT },
        { "clear_task", "1", TROP_RESERVE_CLEAR_TASK },
        { "overwrite", "1", TROP_RESERVE_OVERWRITE },
        { "ignore_occupied", "1", TROP_RESERVE_IGNORE_OCCUPIED },
        { "ignore_exclusions", "1", TROP_RESERVE_IGNORE_EXCLUSIONS },
        { "allow_unrelated_path", "0", TROP_REFUSE_UNRELATED_PATH },
        { "allow_project_change", "1", TROP_ALLOW_PROJECT_CHANGE },
        { "allow_task_change", "1", TROP_ALLOW_TASK_CHANGE },
        { "force", "1", TROP_FORCE },
        { "disable_autoprune", "1", TROP_RESERVE_DISABLE_AUTOPRUNE },
        { "disable_autoexpire", "1", TROP_RESERVE_DISABLE_AUTOEXPIRE },
        { "skip_occupancy_check", "1", TROP_SKIP_OCCUPANCY_CHECK },
        { "dry_run", "1", TROP_DRY_RUN },
    };
    trop_reserve_options options = TROP_RESERVE_OPTIONS_INIT;
    options.flags = FLAGS(command, flags);
    options.path = get(command, "path");
    options.tag = get(command, "tag");
    options.project = get(command, "project");
    options.task = get(command, "task");
    options.port = get_number(command, "port");
    options.min = get_number(command, "min");
    options.max = get_number(command, "max");
    trop_reservation *reservation;
    trop_error *error;
    if (trop_reserve(registry, &options, &reservation, &error) != TROP_OK) {
        answer_error(error);
        return;
    }
    printf("ok\tport=%d", trop_reservation_port(reservation));
    put("path", trop_reservation_path(reservation));
    put_if("tag", trop_reservation_tag(reservation));
    put_if("project", trop_reservation_project(reservation));
    put_if("task", trop_reservation_task(reservation));
    printf("\tcreated=%d", (int)trop_reservation_created(reservation));
    put_if("refusal", trop_reservation_refusal(reservation));
    const char *cleanup = trop_reservation_cleanup(reservation);
    if (cleanup != NULL)
        printf("\tpruned=%zu\texpired=%zu", count_elements(cleanup, "pruned"),
               count_elements(cleanup, "expired"));
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

static void reserve_group(const struct command *command)
{
    static const struct flag flags[] = {
        { "by", "variable", TROP_GROUP_BY_VARIABLE },
        { "allow_unrelated_path", "0", TROP_REFUSE_UNRELATED_PATH },
        { "allow_project_change", "1", TROP_ALLOW_PROJECT_CHANGE },
        { "allow_task_change", "1", TROP_ALLOW_TASK_CHANGE },
        { "force", "1", TROP_FORCE },
        { "skip_occupancy_check", "1", TROP_SKIP_OCCUPANCY_CHECK },
        { "dry_run", "1", TROP_DRY_RUN },
    };
    trop_group_options options = TROP_GROUP_OPTIONS_INIT;
    options.flags = FLAGS(command, flags);
    options.file = get(command, "file");
    options.task = get(command, "task");
    char *json;
    trop_error *error;
    int32_t status = trop_reserve_group(registry, &options, &json, &error);
    answer_json(status, json, error);
}

static void release(const struct command *command)
{
    static const struct flag flags[] = {
        { "untagged_only", "1", TROP_RELEASE_UNTAGGED_ONLY },
        { "recursive", "1", TROP_RECURSIVE },
        { "allow_unrelated_path", "0", TROP_REFUSE_UNRELATED_PATH },
        { "dry_run", "1", TROP_DRY_RUN },
    };
    trop_release_options options = TROP_RELEASE_OPTIONS_INIT;
    options.flags = FLAGS(command, flags);
    options.path = get(command, "path");
    options.tag = get(command, "tag");
    uint64_t count;
    trop_error *error;
    int32_t status = trop_release(registry, &options, &count, &error);
    answer_count(status, count, error);
}

static const struct flag dry_run[] = { { "dry_run", "1", TROP_DRY_RUN } };

static void release_port(const struct command *command)
{
    uint64_t count;
    trop_error *error;
    int32_t port = get_number(command, "port");
    static const struct flag flags[] = { { "force", "1", TROP_FORCE }, { "dry_run", "1", TROP_DRY_RUN } };
    int32_t status = trop_release_port(registry, port, FLAGS(command, flags), &count, &error);
    answer_count(status, count, error);
}

static void put_leases(const trop_lease_handle *const *taken, int32_t count)
{
    printf("ok\tports=");
    for (int32_t i = 0; i < count; i++)
        printf("%s%d", i == 0 ? "" : "%2C", trop_lease_port(taken[i]));
    printf("\thandles=");
    for (int32_t i = 0; i < count; i++)
        printf("%s%zu", i == 0 ? "" : "%2C", lease_count - (size_t)(count - i));
    putchar('\n');
}

static trop_lease_options lease_options(const struct command *command)
{
    static const struct flag flags[] = {
        { "contiguous", "1", TROP_LEASE_CONTIGUOUS },
        { "hold", "1", TROP_LEASE_HOLD },
        { "skip_occupancy_check", "1", TROP_SKIP_OCCUPANCY_CHECK },
    };
    trop_lease_options options = TROP_LEASE_OPTIONS_INIT;
    options.flags = FLAGS(command, flags);
    options.label = get(command, "label");
    options.port = get_number(command, "port");
    options.min = get_number(command, "min");
    options.max = get_number(command, "max");
    return options;
}

static void lease(const struct command *command)
{
    static trop_lease_handle *taken[65536];
    trop_lease_options options = lease_options(command);
    int32_t count = get(command, "count") == NULL ? 1 : get_number(command, "count");
    trop_error *error;
    int32_t status = get(command, "count") == NULL
                         ? trop_lease(registry, &options, &taken[0], &error)
                         : trop_lease_many(registry, (uint32_t)count, &options, taken, &error);
    if (status != TROP_OK) {
        answer_error(error);
        return;
    }
    leases = realloc(leases, (lease_count + (size_t)count) * sizeof(*leases));
    if (leases == NULL)
        die("out of memory");
    for (int32_t i = 0; i < count; i++)
        leases[lease_count++] = (struct lease){ taken[i], -1 };
    put_leases((const trop_lease_handle *const *)taken, count);
}

static struct lease *get_lease(const struct command *command)
{
    int32_t handle = get_number(command, "handle");
    if (handle < 0 || (size_t)handle >= lease_count)
        die("a handle is unknown");
    return &leases[handle];
}

static void answer_done(int32_t status, trop_error *error)
{
    if (status != TROP_OK)
        answer_error(error);
    else
        puts("ok");
}

static void lease_close(const struct command *command)
{
    struct lease *lease = get_lease(command);
    if (lease->socket >= 0)
        close((int)lease->socket);
    lease->socket = -1;
    trop_lease_close(lease->lease);
    answer_done(TROP_OK, NULL);
}

static void lease_listen(const struct command *command)
{
    struct lease *lease = get_lease(command);
    trop_error *error;
    int32_t status = trop_lease_listen(lease->lease, get(command, "host"), -1, &lease->socket, &error);
    answer_done(status, error);
}

static void lease_wait_listening(const struct command *command)
{
    struct lease *lease = get_lease(command);
    trop_error *error;
    int32_t status = trop_lease_wait_listening(lease->lease, get_number(command, "timeout_ms"), &error);
    answer_done(status, error);
}

static void port(const struct command *command)
{
    trop_error *error;
    uint16_t number;
    trop_lease_options options = lease_options(command);
    int32_t status = trop_port(registry, &options, &number, &error);
    if (status != TROP_OK) {
        answer_error(error);
        return;
    }
    printf("ok\tport=%d\n", number);
}

static void list_leases(const struct command *command)
{
    (void)command;
    char *json;
    trop_error *error;
    int32_t status = trop_leases(registry, &json, &error);
    answer_json(status, json, error);
}

static void list_own_leases(const struct command *command)
{
    (void)command;
    char *json;
    trop_error *error;
    int32_t status = trop_own_leases(registry, &json, &error);
    answer_json(status, json, error);
}

static void explain(const struct command *command)
{
    char *json;
    trop_error *error;
    int32_t status = trop_explain(registry, get_number(command, "port"), &json, &error);
    answer_json(status, json, error);
}

static void find(const struct command *command)
{
    trop_reservation *found;
    trop_error *error;
    int32_t status = trop_find(registry, get(command, "path"), get(command, "tag"), &found, &error);
    answer_found(status, found, error);
}

static void find_port(const struct command *command)
{
    trop_reservation *found;
    trop_error *error;
    int32_t status = trop_find_port(registry, get_number(command, "port"), &found, &error);
    answer_found(status, found, error);
}

static void list(const struct command *command)
{
    trop_list_options options = TROP_LIST_OPTIONS_INIT;
    options.project = get(command, "project");
    options.tag = get(command, "tag");
    options.path = get(command, "path");
    char *json;
    trop_error *error;
    int32_t status = trop_list(registry, &options, &json, &error);
    answer_json(status, json, error);
}

static void projects(const struct command *command)
{
    (void)command;
    char *json;
    trop_error *error;
    int32_t status = trop_projects(registry, &json, &error);
    answer_json(status, json, error);
}

static void clean(const struct command *command, uint32_t what)
{
    trop_clean_options options = TROP_CLEAN_OPTIONS_INIT;
    options.flags = what | FLAGS(command, dry_run);
    options.days = get_number(command, "days");
    char *json;
    trop_error *error;
    int32_t status = trop_clean(registry, &options, &json, &error);
    static const char *const lists[] = { "pruned", "expired" };
    answer_counts(status, json, error, lists, lists);
}

static void prune(const struct command *command)
{
    clean(command, TROP_CLEAN_PRUNE);
}

static void expire(const struct command *command)
{
    clean(command, TROP_CLEAN_EXPIRE);
}

static void autoclean(const struct command *command)
{
    clean(command, TROP_CLEAN_PRUNE | TROP_CLEAN_EXPIRE);
}

static void migrate(const struct command *command)
{
    static const struct flag flags[] = {
        { "recursive", "1", TROP_RECURSIVE },
        { "force", "1", TROP_FORCE },
        { "dry_run", "1", TROP_DRY_RUN },
    };
    trop_migrate_options options = TROP_MIGRATE_OPTIONS_INIT;
    options.flags = FLAGS(command, flags);
    options.from = get(command, "from");
    options.to = get(command, "to");
    char *json;
    trop_error *error;
    int32_t status = trop_migrate(registry, &options, &json, &error);
    static const char *const fields[] = { "moved", "conflicts" }, *const lists[] = { "moves", "conflicts" };
    answer_counts(status, json, error, fields, lists);
}

static void scan(const struct command *command)
{
    char *json;
    trop_error *error;
    int32_t min = get_number(command, "min"), max = get_number(command, "max");
    int32_t status = trop_scan(registry, min, max, &json, &error);
    answer_json(status, json, error);
}

static void validate_config(const struct command *command)
{
    char *json;
    trop_error *error;
    int32_t status = trop_validate_config(get(command, "file"), &json, &error);
    answer_json(status, json, error);
}

static void validate_database(const struct command *command)
{
    (void)command;
    trop_error *error;
    int32_t status = trop_validate_database(registry, &error);
    answer_done(status, error);
}

static void close_registry(const struct command *command)
{
    (void)command;
    trop_registry_close(registry);
    puts("ok");
}

static void run(const struct command *command)
{
    static const struct {
        const char *name;
        void (*run)(const struct command *);
    } verbs[] = {
        { "open", open_registry },
        { "reserve", reserve },
        { "storm", storm },
        { "reserve_group", reserve_group },
        { "release", release },
        { "release_port", release_port },
        { "lease", lease },
        { "lease_close", lease_close },
        { "lease_listen", lease_listen },
        { "lease_wait_listening", lease_wait_listening },
        { "port", port },
        { "leases", list_leases },
        { "own_leases", list_own_leases },
        { "explain", explain },
        { "find", find },
        { "find_port", find_port },
        { "list", list },
        { "projects", projects },
        { "prune", prune },
        { "expire", expire },
        { "autoclean", autoclean },
        { "migrate", migrate },
        { "scan", scan },
        { "validate_config", validate_config },
        { "validate_database", validate_database },
        { "close", close_registry },
    };
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(command->verb, verbs[i].name) == 0) {
            verbs[i].run(command);
            return;
        }
    }
    die("unknown verb");
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
    for (size_t i = 0; i < lease_count; i++)
        trop_lease_free(leases[i].lease);
    free(leases);
    trop_registry_free(registry);
    return 0;
}
