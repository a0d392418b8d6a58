/* What every call and every option of it does: each test fails when its option is ignored. */
#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIN 23000
#define MAX 23009

static trop_error *error;
static trop_registry *registry;

/* A directory beside the data directory, for paths of reservations and for configuration files. */
static char work[PATH_MAX / 2];

/* A path in the work directory; each result lasts for a few calls. */
static const char *in_work(const char *name)
{
    static char paths[8][PATH_MAX];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, PATH_MAX, "%s/%s", work, name);
    return path;
}

static void make_directory(const char *name)
{
    CHECK(mkdir(in_work(name), 0700) == 0);
}

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(in_work(name), "w");
    CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

/* Nothing that runs on this machine or configures it changes the result. */
static trop_open_options plain_options(void)
{
    trop_open_options options = TROP_OPEN_OPTIONS_INIT;
    options.flags = TROP_OPEN_NO_DISCOVERY | TROP_OPEN_NO_VARIABLES | TROP_SKIP_OCCUPANCY_CHECK;
    options.ports_min = MIN;
    options.ports_max = MAX;
    return options;
}

static trop_reserve_options reserve_options(const char *path, const char *tag)
{
    trop_reserve_options options = TROP_RESERVE_OPTIONS_INIT;
    options.path = path;
    options.tag = tag;
    return options;
}

/* The reservation of options that must succeed; to be freed. */
static trop_reservation *reserved(const trop_reserve_options *options)
{
    trop_reservation *reservation;
    MUST(trop_reserve(registry, options, &reservation, &error));
    return reservation;
}

/* The port of such a reservation. */
static int reserve(const trop_reserve_options *options)
{
    trop_reservation *reservation = reserved(options);
    int port = trop_reservation_port(reservation);
    trop_reservation_free(reservation);
    return port;
}

static int reserve_key(const char *path, const char *tag)
{
    trop_reserve_options options = reserve_options(path, tag);
    return reserve(&options);
}

static int32_t fails_to_reserve(const trop_reserve_options *options)
{
    trop_reservation *reservation;
    return trop_reserve(registry, options, &reservation, &error);
}

/* The port of a key, 0 if it has none. */
static int port_of(const char *path, const char *tag)
{
    trop_reservation *reservation;
    MUST(trop_find(registry, path, tag, &reservation, &error));
    int port = trop_reservation_port(reservation);
    CHECK(trop_reservation_created(reservation) == 0 && trop_reservation_refusal(reservation) == NULL);
    trop_reservation_free(reservation);
    return port;
}

static size_t occurrences(const char *text, const char *part)
{
    size_t count = 0;
    for (text = strstr(text, part); text != NULL; text = strstr(text + 1, part))
        count++;
    return count;
}

static size_t rows(void)
{
    char *json;
    MUST(trop_list(registry, NULL, &json, &error));
    size_t count = occurrences(json, "\"port\":");
    trop_string_free(json);
    return count;
}

/* Leaves nothing of a test to the next one. */
static void release_all(void)
{
    trop_release_options options = TROP_RELEASE_OPTIONS_INIT;
    options.path = "/";
    options.flags = TROP_RECURSIVE;
    MUST(trop_release(registry, &options, NULL, &error));
    CHECK(rows() == 0);
}

/* Opening */

/* The port that a registry with these options gives first. */
static int first_port(const trop_open_options *options)
{
    trop_registry *opened;
    trop_reservation *reservation;
    MUST(trop_open(options, &opened, &error));
    MUST(trop_reserve(opened, NULL, &reservation, &error));
    int port = trop_reservation_port(reservation);
    trop_reservation_free(reservation);
    MUST(trop_release(opened, NULL, NULL, &error));
    trop_registry_free(opened);
    return port;
}

static void configuration(void)
{
    make_directory("here");
    make_directory("here/below");
    make_directory("there");
    write_file("here/trop.yaml", "ports: { min: 23100, max: 23109 }\n");
    write_file("there/trop.yaml", "ports: { min: 23200, max: 23209 }\n");
    write_file("there/other.yaml", "ports: { min: 23300, max: 23309 }\n");
    /* The range of this suite, which weighs more than that of a file. */
    char min[8], max[8];
    snprintf(min, sizeof(min), "%s", getenv("TROP_PORT_MIN"));
    snprintf(max, sizeof(max), "%s", getenv("TROP_PORT_MAX"));
    CHECK(unsetenv("TROP_PORT_MIN") == 0 && unsetenv("TROP_PORT_MAX") == 0);
    char before[PATH_MAX];
    CHECK(getcwd(before, sizeof(before)) != NULL && chdir(in_work("here/below")) == 0);

    trop_open_options options = TROP_OPEN_OPTIONS_INIT;
    options.flags = TROP_SKIP_OCCUPANCY_CHECK;
    CHECK(first_port(NULL) >= 23100 && first_port(NULL) <= 23109);
    options.start_dir = "../../there";
    CHECK(first_port(&options) == 23200);
    options.start_dir = NULL;
    options.config_file = in_work("there/other.yaml");
    CHECK(first_port(&options) == 23300);
    options.config_file = NULL;
    options.flags |= TROP_OPEN_NO_DISCOVERY;
    CHECK(first_port(&options) == 5000);

    options.flags = TROP_SKIP_OCCUPANCY_CHECK;
    setenv("TROP_PORT_MIN", "23105", 1);
    CHECK(first_port(&options) == 23105);
    options.flags |= TROP_OPEN_NO_VARIABLES;
    CHECK(first_port(&options) == 23100);
    options.ports_min = 23103;
    CHECK(first_port(&options) == 23103);
    unsetenv("TROP_PORT_MIN");

    trop_registry *opened;
    options.start_dir = in_work("nowhere");
    CHECK_ERROR(trop_open(&options, &opened, &error), TROP_ERR_INVALID_ARGUMENT, "start_dir");
    options.start_dir = NULL;
    options.config_file = in_work("there/missing.yaml");
    CHECK_ERROR(trop_open(&options, &opened, &error), TROP_ERR_INVALID_ARGUMENT, "config_file");
    write_file("there/bad.yaml", "ports: 7\n");
    options.config_file = in_work("there/bad.yaml");
    CHECK_ERROR(trop_open(&options, &opened, &error), TROP_ERR_CONFIG, "ports");
    CHECK(opened == NULL);
    CHECK(chdir(before) == 0);
    CHECK(setenv("TROP_PORT_MIN", min, 1) == 0 && setenv("TROP_PORT_MAX", max, 1) == 0);
}

static void nothing_is_created_on_request(void)
{
    trop_open_options options = plain_options();
    options.data_dir = in_work("data");
    options.flags |= TROP_OPEN_NO_CREATE;
    trop_registry *opened;
    CHECK_ERROR(trop_open(&options, &opened, &error), TROP_ERR_NO_DATA_DIR, "data_dir");
    CHECK(opened == NULL && access(options.data_dir, F_OK) != 0);
}

/* Reserving */

static void projects_and_tasks(void)
{
    trop_reserve_options options = reserve_options("/c/p", NULL);
    options.project = " shop ";
    options.task = "sale";
    trop_reservation *reservation = reserved(&options);
    CHECK(same_text(trop_reservation_project(reservation), "shop"));
    CHECK(same_text(trop_reservation_task(reservation), "sale"));
    trop_reservation_free(reservation);

    options.project = "store";
    options.task = NULL;
    CHECK_ERROR(fails_to_reserve(&options), TROP_ERR_STICKY_FIELD, "project");
    options.flags = TROP_ALLOW_TASK_CHANGE;
    CHECK_ERROR(fails_to_reserve(&options), TROP_ERR_STICKY_FIELD, "project");
    options.flags = TROP_ALLOW_PROJECT_CHANGE;
    reservation = reserved(&options);
    CHECK(same_text(trop_reservation_project(reservation), "store"));
    CHECK(same_text(trop_reservation_task(reservation), "sale"));
    trop_reservation_free(reservation);

    options.project = NULL;
    options.task = "bargain";
    CHECK_ERROR(fails_to_reserve(&options), TROP_ERR_STICKY_FIELD, "task");
    options.flags = TROP_ALLOW_TASK_CHANGE;
    reservation = reserved(&options);
    CHECK(same_text(trop_reservation_task(reservation), "bargain"));
    trop_reservation_free(reservation);

    options.task = NULL;
    options.flags = TROP_RESERVE_CLEAR_PROJECT | TROP_ALLOW_PROJECT_CHANGE;
    reservation = reserved(&options);
    CHECK(trop_reservation_project(reservation) == NULL);
    CHECK(same_text(trop_reservation_task(reservation), "bargain"));
    trop_reservation_free(reservation);
    options.flags = TROP_RESERVE_CLEAR_TASK | TROP_ALLOW_TASK_CHANGE;
    reservation = reserved(&options);
    CHECK(trop_reservation_task(reservation) == NULL);
    trop_reservation_free(reservation);
    release_all();
}

static void preferred_ports(void)
{
    trop_open_options open = plain_options();
    open.excluded = "23007";
    trop_registry *before = registry;
    MUST(trop_open(&open, &registry, &error));

    CHECK(reserve_key("/c/o", NULL) == MIN);
    trop_reserve_options options = reserve_options("/c/o", NULL);
    options.port = 23005;
    CHECK(reserve(&options) == MIN);
    options.flags = TROP_RESERVE_OVERWRITE;
    CHECK(reserve(&options) == 23005);

    options = reserve_options("/c/x", NULL);
    options.port = 23007;
    options.flags = TROP_DRY_RUN;
    trop_reservation *reservation = reserved(&options);
    CHECK(same_text(trop_reservation_refusal(reservation), "excluded"));
    trop_reservation_free(reservation);
    options.flags = TROP_DRY_RUN | TROP_RESERVE_IGNORE_EXCLUSIONS;
    CHECK(reserve(&options) == 23007);
    options.flags = TROP_DRY_RUN | TROP_FORCE;
    CHECK(reserve(&options) == 23007);
    CHECK(rows() == 1);

    release_all();
    trop_registry_free(registry);
    registry = before;
}

static void related_paths(void)
{
    trop_reserve_options options = reserve_options("/c/elsewhere", NULL);
    options.flags = TROP_REFUSE_UNRELATED_PATH;
    CHECK_ERROR(fails_to_reserve(&options), TROP_ERR_UNRELATED_PATH, "path");
    options.flags |= TROP_FORCE;
    CHECK(reserve(&options) == MIN);
    trop_release_options release = TROP_RELEASE_OPTIONS_INIT;
    release.path = "/c/elsewhere";
    release.flags = TROP_REFUSE_UNRELATED_PATH;
    CHECK_ERROR(trop_release(registry, &release, NULL, &error), TROP_ERR_UNRELATED_PATH, "path");
    release_all();
}

static void exhausted_ranges_are_cleaned_up(void)
{
    CHECK(reserve_key(in_work("gone"), "old") == MIN);
    trop_reserve_options options = reserve_options(in_work("here"), NULL);
    options.min = options.max = MIN;
    options.flags = TROP_RESERVE_DISABLE_AUTOPRUNE;
    CHECK_ERROR(fails_to_reserve(&options), TROP_ERR_EXHAUSTED, NULL);
    options.flags = TROP_RESERVE_DISABLE_AUTOEXPIRE;
    trop_reservation *reservation = reserved(&options);
    CHECK(trop_reservation_port(reservation) == MIN);
    const char *cleanup = trop_reservation_cleanup(reservation);
    CHECK(cleanup != NULL && strstr(cleanup, "\"expired\":[]") != NULL);
    CHECK(cleanup != NULL && strstr(cleanup, "\"pruned\":[{") != NULL && strstr(cleanup, "/gone\"") != NULL);
    trop_reservation_free(reservation);
    reservation = reserved(&options);
    CHECK(trop_reservation_cleanup(reservation) == NULL);
    trop_reservation_free(reservation);
    release_all();
}

/* Releasing */

static void release_options(void)
{
    static const struct {
        const char *tag;
        uint32_t flags;
        uint64_t count;
        size_t left;
    } steps[] = {
        { NULL, TROP_RECURSIVE | TROP_DRY_RUN, 4, 5 },
        { "web", TROP_RECURSIVE, 2, 3 },
        { NULL, TROP_RELEASE_UNTAGGED_ONLY, 1, 2 },
        { NULL, 0, 0, 2 },
        { NULL, TROP_RECURSIVE, 1, 1 },
    };
    reserve_key("/c/r", NULL);
    reserve_key("/c/r", "web");
    reserve_key("/c/r/below", "web");
    reserve_key("/c/r/below", NULL);
    reserve_key("/c/rest", NULL);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        trop_release_options options = TROP_RELEASE_OPTIONS_INIT;
        options.path = "/c/r";
        options.tag = steps[i].tag;
        options.flags = steps[i].flags;
        uint64_t count;
        MUST(trop_release(registry, &options, &count, &error));
        CHECK(count == steps[i].count && rows() == steps[i].left);
    }

    uint64_t count;
    int port = port_of("/c/rest", NULL);
    MUST(trop_release_port(registry, port, TROP_DRY_RUN, &count, &error));
    CHECK(count == 1 && rows() == 1);
    MUST(trop_release_port(registry, MAX, 0, &count, &error));
    CHECK(count == 0 && rows() == 1);
    MUST(trop_release_port(registry, port, 0, &count, &error));
    CHECK(count == 1 && rows() == 0);
    MUST(trop_release_port(registry, port, 0, &count, &error));
    CHECK(count == 0);
}

/* Looking up */

static void find(void)
{
    trop_reserve_options options = reserve_options("/c/f", "web");
    options.project = "shop";
    options.task = "sale";
    int port = reserve(&options);
    CHECK(port_of("/c/f", "web") == port && port_of("/c/./f/", " web ") == port);
    CHECK(port_of("/c/f", NULL) == 0 && port_of("/c", "web") == 0 && port_of(NULL, "web") == 0);
    options.path = NULL;
    CHECK(reserve(&options) == port_of(NULL, "web") && port_of(NULL, "web") != port);

    trop_reservation *reservation;
    MUST(trop_find_port(registry, port, &reservation, &error));
    CHECK(trop_reservation_port(reservation) == port);
    CHECK(same_text(trop_reservation_path(reservation), "/c/f"));
    CHECK(same_text(trop_reservation_tag(reservation), "web"));
    CHECK(same_text(trop_reservation_project(reservation), "shop"));
    CHECK(same_text(trop_reservation_task(reservation), "sale"));
    CHECK(trop_reservation_created_at(reservation) > 1000000000);
    CHECK(trop_reservation_last_used_at(reservation) >= trop_reservation_created_at(reservation));
    CHECK(trop_reservation_cleanup(reservation) == NULL);
    trop_reservation_free(reservation);
    MUST(trop_find_port(registry, MAX, &reservation, &error));
    CHECK(reservation == NULL);
    release_all();
}

static void lists_and_projects(void)
{
    static const struct {
        trop_list_options options;
        size_t count;
        const char *contains;
    } steps[] = {
        { TROP_LIST_OPTIONS_INIT, 4, "/c/l" },
        { { sizeof(trop_list_options), 0, "shop", NULL, NULL }, 2, "/c/l/below" },
        { { sizeof(trop_list_options), 0, NULL, "web", NULL }, 2, "/c/lower" },
        { { sizeof(trop_list_options), 0, NULL, NULL, "/c/l" }, 3, "/c/l/below" },
        { { sizeof(trop_list_options), 0, "shop", "web", "/c/l" }, 1, "/c/l" },
        { { sizeof(trop_list_options), 0, "", "", NULL }, 0, "[]" },
    };
    char *json;
    MUST(trop_projects(registry, &json, &error));
    CHECK(same_text(json, "[]"));
    trop_string_free(json);

    trop_reserve_options options = reserve_options("/c/l", "web");
    options.project = "shop";
    reserve(&options);
    options = reserve_options("/c/l/below", NULL);
    options.project = "shop";
    reserve(&options);
    options = reserve_options("/c/lower", "web");
    options.project = "attic \"2\"";
    reserve(&options);
    reserve_key("/c/l", NULL);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        MUST(trop_list(registry, &steps[i].options, &json, &error));
        CHECK(occurrences(json, "\"port\":") == steps[i].count && strstr(json, steps[i].contains) != NULL);
        trop_string_free(json);
    }
    MUST(trop_projects(registry, &json, &error));
    CHECK(same_text(json, "[\"attic \\\"2\\\"\",\"shop\"]"));
    trop_string_free(json);
    release_all();
}

/* Cleaning up and migrating; expiring takes old rows, which C cannot make */

static void clean_prunes(void)
{
    static const struct {
        uint32_t flags;
        size_t pruned;
        size_t left;
    } steps[] = {
        { TROP_CLEAN_EXPIRE, 0, 3 },
        { TROP_DRY_RUN, 2, 3 },
        { TROP_CLEAN_PRUNE, 2, 1 },
        { TROP_CLEAN_PRUNE | TROP_CLEAN_EXPIRE, 0, 1 },
    };
    reserve_key(in_work("gone"), NULL);
    reserve_key(in_work("gone"), "web");
    reserve_key(in_work("here"), NULL);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        trop_clean_options options = TROP_CLEAN_OPTIONS_INIT;
        options.flags = steps[i].flags;
        char *json;
        MUST(trop_clean(registry, &options, &json, &error));
        CHECK(occurrences(json, "\"port\":") == steps[i].pruned && rows() == steps[i].left);
        CHECK(strstr(json, "\"expired\":[]") != NULL && strstr(json, "\"preserved\":[]") != NULL);
        CHECK(strstr(json, "\"days\":30") != NULL);
        trop_string_free(json);
    }
    release_all();
}

static void migrate(void)
{
    int first = reserve_key("/c/m", NULL), below = reserve_key("/c/m/below", "web");
    trop_migrate_options options = TROP_MIGRATE_OPTIONS_INIT;
    options.from = "/c/m";
    options.to = "/c/n";
    options.flags = TROP_DRY_RUN;
    char *json;
    MUST(trop_migrate(registry, &options, &json, &error));
    CHECK(strstr(json, "\"from\":\"/c/m\"") != NULL && occurrences(json, "\"to\":\"/c/n\"") == 2);
    CHECK(occurrences(json, "\"path\":\"/c/m\"") == 1 && strstr(json, "\"conflicts\":[]") != NULL);
    trop_string_free(json);
    CHECK(port_of("/c/m", NULL) == first);

    options.flags = 0;
    MUST(trop_migrate(registry, &options, &json, &error));
    trop_string_free(json);
    CHECK(port_of("/c/n", NULL) == first && port_of("/c/m/below", "web") == below);
    CHECK_ERROR(trop_migrate(registry, &options, &json, &error), TROP_ERR_NOT_FOUND, NULL);
    CHECK(json == NULL);
    options.flags = TROP_RECURSIVE;
    MUST(trop_migrate(registry, &options, &json, &error));
    trop_string_free(json);
    CHECK(port_of("/c/n/below", "web") == below);

    int other = reserve_key("/c/m", NULL);
    options.flags = 0;
    CHECK_ERROR(trop_migrate(registry, &options, &json, &error), TROP_ERR_CONFLICT, NULL);
    options.flags = TROP_FORCE;
    MUST(trop_migrate(registry, &options, &json, &error));
    CHECK(strstr(json, "\"conflicts\":[{") != NULL);
    trop_string_free(json);
    CHECK(port_of("/c/n", NULL) == other);
    release_all();
}

/* Groups */

static const char services[] = "project: shop\n"
                               "ports: { min: 23000, max: 23009 }\n"
                               "reservations:\n"
                               "  base: 23002\n"
                               "  services:\n"
                               "    web: { offset: 0, env: WEB }\n"
                               "    api: { offset: 1, env: A_PI }\n";

static void group_fails(const trop_group_options *options, int32_t code, const char *argument)
{
    char *json;
    CHECK_ERROR(trop_reserve_group(registry, options, &json, &error), code, argument);
    CHECK(json == NULL);
}

static void check_group(const trop_group_options *options, const char *expected)
{
    char *json;
    MUST(trop_reserve_group(registry, options, &json, &error));
    CHECK(same_text(json, expected));
    trop_string_free(json);
}

static void groups(void)
{
    static const char by_tag[] = "{\n  \"api\": 23003,\n  \"web\": 23002\n}\n";
    make_directory("group");
    write_file("group/trop.yaml", services);
    group_fails(NULL, TROP_ERR_NOT_FOUND, NULL); /* a registry without discovery */

    trop_group_options options = TROP_GROUP_OPTIONS_INIT;
    options.file = in_work("group/trop.yaml");
    options.task = "sale";
    options.flags = TROP_REFUSE_UNRELATED_PATH;
    group_fails(&options, TROP_ERR_UNRELATED_PATH, "path");
    options.flags = TROP_DRY_RUN;
    check_group(&options, by_tag);
    CHECK(rows() == 0);
    options.flags = 0;
    check_group(&options, by_tag);
    options.flags = TROP_GROUP_BY_VARIABLE;
    check_group(&options, "{\n  \"A_PI\": 23003,\n  \"WEB\": 23002\n}\n");
    trop_reservation *web;
    MUST(trop_find(registry, in_work("group"), "web", &web, &error));
    CHECK(same_text(trop_reservation_project(web), "shop") && same_text(trop_reservation_task(web), "sale"));
    trop_reservation_free(web);

    options.task = "bargain";
    options.flags = TROP_ALLOW_PROJECT_CHANGE;
    group_fails(&options, TROP_ERR_STICKY_FIELD, "task");
    options.flags = TROP_ALLOW_TASK_CHANGE;
    check_group(&options, by_tag);
    options.task = NULL;
    write_file("group/trop.local.yaml", "project: store\n");
    options.flags = TROP_ALLOW_TASK_CHANGE;
    group_fails(&options, TROP_ERR_STICKY_FIELD, "project");
    options.flags = TROP_ALLOW_PROJECT_CHANGE;
    check_group(&options, by_tag);

    reserve_key(in_work("group"), "another");
    options.flags = 0;
    group_fails(&options, TROP_ERR_CONFLICT, NULL);
    options.task = "clear";
    options.flags = TROP_FORCE;
    check_group(&options, by_tag);
    CHECK(rows() == 2);

    options.file = in_work("group/missing.yaml");
    group_fails(&options, TROP_ERR_INVALID_ARGUMENT, "file");

    /* Without a file it is the group of the configuration. */
    trop_registry *before = registry;
    trop_open_options open = TROP_OPEN_OPTIONS_INIT;
    open.start_dir = in_work("group");
    open.flags = TROP_OPEN_NO_VARIABLES;
    MUST(trop_open(&open, &registry, &error));
    check_group(NULL, by_tag);
    trop_registry_free(registry);
    registry = before;
    release_all();
}

/* Files */

static void validation(void)
{
    char *json;
    write_file("sound.yaml", "ports: { min: 5000 }\n");
    MUST(trop_validate_config(in_work("sound.yaml"), &json, &error));
    CHECK(same_text(json, "[]"));
    trop_string_free(json);
    write_file("unsound.yaml", "ports:\n  min: 0\ncolour: red\n");
    MUST(trop_validate_config(in_work("unsound.yaml"), &json, &error));
    CHECK(occurrences(json, "\"reason\":\"") == 2 && occurrences(json, "/unsound.yaml\"") == 2);
    CHECK(strstr(json, "\"line\":2") != NULL && strstr(json, "\"field\":\"ports.min\"") != NULL);
    trop_string_free(json);

    MUST(trop_validate_database(registry, &error));
    make_directory("damaged");
    trop_open_options options = plain_options();
    options.data_dir = in_work("damaged");
    trop_registry *damaged;
    MUST(trop_open(&options, &damaged, &error));
    trop_registry_close(damaged);
    CHECK_ERROR(trop_validate_database(damaged, &error), TROP_ERR_CLOSED, NULL);
    trop_registry_free(damaged);
    MUST(trop_open(&options, &damaged, &error));
    CHECK(remove(in_work("damaged/trop.db")) == 0);
    CHECK_ERROR(trop_validate_database(damaged, &error), TROP_ERR_CORRUPT, "data_dir");
    trop_registry_free(damaged);
}

int main(void)
{
    snprintf(work, sizeof(work), "%s-work", getenv("TROP_DATA_DIR"));
    CHECK(mkdir(work, 0700) == 0);
    configuration();
    nothing_is_created_on_request();
    trop_open_options options = plain_options();
    MUST(trop_open(&options, &registry, &error));
    projects_and_tasks();
    preferred_ports();
    related_paths();
    exhausted_ranges_are_cleaned_up();
    release_options();
    find();
    lists_and_projects();
    clean_prunes();
    migrate();
    groups();
    validation();
    trop_registry_free(registry);
    return failures != 0;
}
