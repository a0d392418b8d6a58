/* Arguments that only C can pass: NULL, wrong sizes, unknown bytes and flags, text that is not UTF-8. */
#include "check.h"

/* A value that no call may leave in an out-parameter. */
static char garbage;
#define GARBAGE ((void *)&garbage)

static trop_error *error;
static trop_registry *registry;

/* A configuration file with a group, in the data directory. */
static char group_file[300];

static void make_group_file(void)
{
    snprintf(group_file, sizeof(group_file), "%s/group.yaml", getenv("TROP_DATA_DIR"));
    FILE *file = fopen(group_file, "w");
    CHECK(file != NULL && fputs("reservations: { services: { web: {} } }\n", file) >= 0 && fclose(file) == 0);
}

static int32_t open_with(const trop_open_options *options)
{
    trop_registry *opened = GARBAGE;
    error = GARBAGE;
    int32_t status = trop_open(options, &opened, &error);
    CHECK(opened == NULL || status == TROP_OK);
    trop_registry_free(opened);
    return status;
}

static int32_t reserve_with(const trop_reserve_options *options)
{
    trop_reservation *reservation = GARBAGE;
    error = GARBAGE;
    int32_t status = trop_reserve(registry, options, &reservation, &error);
    CHECK(reservation == NULL || status == TROP_OK);
    trop_reservation_free(reservation);
    return status;
}

static int32_t release_with(const trop_release_options *options)
{
    uint64_t count = 99;
    error = GARBAGE;
    int32_t status = trop_release(registry, options, &count, &error);
    CHECK(count == 0 || status == TROP_OK);
    return status;
}

/* The out-parameter of a call that failed is NULL; a text of one that succeeded is freed. */
static int32_t json_of(int32_t status, char *json)
{
    CHECK(json == NULL || status == TROP_OK);
    trop_string_free(json);
    return status;
}

static int32_t list_with(const trop_list_options *options)
{
    char *json = GARBAGE;
    error = GARBAGE;
    int32_t status = trop_list(registry, options, &json, &error);
    return json_of(status, json);
}

static int32_t group_with(const trop_group_options *options)
{
    char *json = GARBAGE;
    error = GARBAGE;
    int32_t status = trop_reserve_group(registry, options, &json, &error);
    return json_of(status, json);
}

static int32_t clean_with(const trop_clean_options *options)
{
    char *json = GARBAGE;
    error = GARBAGE;
    int32_t status = trop_clean(registry, options, &json, &error);
    return json_of(status, json);
}

static int32_t migrate_with(const trop_migrate_options *options)
{
    char *json = GARBAGE;
    error = GARBAGE;
    int32_t status = trop_migrate(registry, options, &json, &error);
    return json_of(status, json);
}

static int32_t lease_with(const trop_lease_options *options)
{
    trop_lease_handle *lease = GARBAGE;
    error = GARBAGE;
    int32_t status = trop_lease(registry, options, &lease, &error);
    CHECK(lease == NULL || status == TROP_OK);
    trop_lease_free(lease);
    return status;
}

static int32_t find_with(const char *path, const char *tag)
{
    trop_reservation *reservation = GARBAGE;
    error = GARBAGE;
    int32_t status = trop_find(registry, path, tag, &reservation, &error);
    CHECK(reservation == NULL || status == TROP_OK);
    trop_reservation_free(reservation);
    return status;
}

static int32_t find_port_with(int32_t port)
{
    trop_reservation *reservation = GARBAGE;
    error = GARBAGE;
    int32_t status = trop_find_port(registry, port, &reservation, &error);
    CHECK(reservation == NULL || status == TROP_OK);
    trop_reservation_free(reservation);
    return status;
}

static int32_t release_port_with(int32_t port, uint32_t flags)
{
    uint64_t count = 99;
    error = GARBAGE;
    int32_t status = trop_release_port(registry, port, flags, &count, &error);
    CHECK(count == 0 || status == TROP_OK);
    return status;
}

static int32_t scan_with(int32_t min, int32_t max)
{
    char *json = GARBAGE;
    error = GARBAGE;
    int32_t status = trop_scan(registry, min, max, &json, &error);
    return json_of(status, json);
}

static int32_t explain_with(int32_t port)
{
    char *json = GARBAGE;
    error = GARBAGE;
    int32_t status = trop_explain(registry, port, &json, &error);
    return json_of(status, json);
}

static int32_t validate_with(const char *file)
{
    char *json = GARBAGE;
    error = GARBAGE;
    int32_t status = trop_validate_config(file, &json, &error);
    return json_of(status, json);
}

static void null_registry(void)
{
    trop_reservation *reservation = GARBAGE;
    uint64_t count = 99;
    char *json = GARBAGE;

    CHECK_ERROR(trop_reserve(NULL, NULL, &reservation, &error), TROP_ERR_INVALID_ARGUMENT, "registry");
    CHECK(reservation == NULL);
    reservation = GARBAGE;
    CHECK_ERROR(trop_find(NULL, NULL, NULL, &reservation, &error), TROP_ERR_INVALID_ARGUMENT, "registry");
    CHECK(reservation == NULL);
    reservation = GARBAGE;
    CHECK_ERROR(trop_find_port(NULL, 23000, &reservation, &error), TROP_ERR_INVALID_ARGUMENT, "registry");
    CHECK(reservation == NULL);
    CHECK_ERROR(trop_release(NULL, NULL, &count, &error), TROP_ERR_INVALID_ARGUMENT, "registry");
    CHECK(count == 0);
    count = 99;
    CHECK_ERROR(trop_release_port(NULL, 23000, 0, &count, &error), TROP_ERR_INVALID_ARGUMENT, "registry");
    CHECK(count == 0);
    CHECK_ERROR(trop_list(NULL, NULL, &json, &error), TROP_ERR_INVALID_ARGUMENT, "registry");
    CHECK(json == NULL);
    json = GARBAGE;
    CHECK_ERROR(trop_projects(NULL, &json, &error), TROP_ERR_INVALID_ARGUMENT, "registry");
    CHECK(json == NULL);
    json = GARBAGE;
    CHECK_ERROR(trop_reserve_group(NULL, NULL, &json, &error), TROP_ERR_INVALID_ARGUMENT, "registry");
    CHECK(json == NULL);
    json = GARBAGE;
    CHECK_ERROR(trop_clean(NULL, NULL, &json, &error), TROP_ERR_INVALID_ARGUMENT, "registry");
    CHECK(json == NULL);
    json = GARBAGE;
    CHECK_ERROR(trop_migrate(NULL, NULL, &json, &error), TROP_ERR_INVALID_ARGUMENT, "registry");
    CHECK(json == NULL);
    json = GARBAGE;
    CHECK_ERROR(trop_scan(NULL, -1, -1, &json, &error), TROP_ERR_INVALID_ARGUMENT, "registry");
    CHECK(json == NULL);
    CHECK_ERROR(trop_validate_database(NULL, &error), TROP_ERR_INVALID_ARGUMENT, "registry");

    trop_lease_handle *leases[2] = { GARBAGE, GARBAGE };
    CHECK_ERROR(trop_lease_many(NULL, 2, NULL, leases, &error), TROP_ERR_INVALID_ARGUMENT, "registry");
    CHECK(leases[0] == NULL && leases[1] == NULL);
    leases[0] = GARBAGE;
    CHECK_ERROR(trop_lease(NULL, NULL, &leases[0], &error), TROP_ERR_INVALID_ARGUMENT, "registry");
    CHECK(leases[0] == NULL);
    json = GARBAGE;
    CHECK_ERROR(trop_leases(NULL, &json, &error), TROP_ERR_INVALID_ARGUMENT, "registry");
    CHECK(json == NULL);
    json = GARBAGE;
    CHECK_ERROR(trop_own_leases(NULL, &json, &error), TROP_ERR_INVALID_ARGUMENT, "registry");
    CHECK(json == NULL);
    json = GARBAGE;
    CHECK_ERROR(trop_explain(NULL, 23000, &json, &error), TROP_ERR_INVALID_ARGUMENT, "registry");
    CHECK(json == NULL);
}

static void null_lease(void)
{
    int64_t held = 0;
    CHECK_ERROR(trop_lease_listen(NULL, NULL, -1, &held, &error), TROP_ERR_INVALID_ARGUMENT, "lease");
    CHECK(held == -1);
    held = 0;
    CHECK_ERROR(trop_lease_bind(NULL, TROP_PROTOCOL_UDP, NULL, &held, &error), TROP_ERR_INVALID_ARGUMENT, "lease");
    CHECK(held == -1);
    CHECK_ERROR(trop_lease_wait_listening(NULL, 0, &error), TROP_ERR_INVALID_ARGUMENT, "lease");
    trop_lease_close(NULL);
    trop_lease_free(NULL);
    CHECK(trop_lease_forget(NULL) == 0);
    CHECK(trop_lease_port(NULL) == 0);
    CHECK(trop_lease_label(NULL) == NULL);
    CHECK(trop_lease_is_open(NULL) == 0);
}

static void null_out_parameters(void)
{
    CHECK_ERROR(trop_open(NULL, NULL, &error), TROP_ERR_INVALID_ARGUMENT, "registry");
    CHECK_ERROR(trop_reserve(registry, NULL, NULL, &error), TROP_ERR_INVALID_ARGUMENT, "reservation");
    CHECK_ERROR(trop_find(registry, NULL, NULL, NULL, &error), TROP_ERR_INVALID_ARGUMENT, "reservation");
    CHECK_ERROR(trop_find_port(registry, 23000, NULL, &error), TROP_ERR_INVALID_ARGUMENT, "reservation");
    CHECK_ERROR(trop_list(registry, NULL, NULL, &error), TROP_ERR_INVALID_ARGUMENT, "json");
    CHECK_ERROR(trop_projects(registry, NULL, &error), TROP_ERR_INVALID_ARGUMENT, "json");
    CHECK_ERROR(trop_reserve_group(registry, NULL, NULL, &error), TROP_ERR_INVALID_ARGUMENT, "json");
    CHECK_ERROR(trop_clean(registry, NULL, NULL, &error), TROP_ERR_INVALID_ARGUMENT, "json");
    CHECK_ERROR(trop_migrate(registry, NULL, NULL, &error), TROP_ERR_INVALID_ARGUMENT, "json");
    CHECK_ERROR(trop_scan(registry, -1, -1, NULL, &error), TROP_ERR_INVALID_ARGUMENT, "json");
    CHECK_ERROR(trop_validate_config("/dev/null", NULL, &error), TROP_ERR_INVALID_ARGUMENT, "json");
    CHECK_ERROR(trop_lease(registry, NULL, NULL, &error), TROP_ERR_INVALID_ARGUMENT, "lease");
    CHECK_ERROR(trop_lease_many(registry, 1, NULL, NULL, &error), TROP_ERR_INVALID_ARGUMENT, "leases");
    CHECK_ERROR(trop_lease_listen(NULL, NULL, -1, NULL, &error), TROP_ERR_INVALID_ARGUMENT, "socket");
    CHECK_ERROR(trop_lease_bind(NULL, TROP_PROTOCOL_TCP, NULL, NULL, &error), TROP_ERR_INVALID_ARGUMENT, "socket");
    CHECK_ERROR(trop_leases(registry, NULL, &error), TROP_ERR_INVALID_ARGUMENT, "json");
    CHECK_ERROR(trop_own_leases(registry, NULL, &error), TROP_ERR_INVALID_ARGUMENT, "json");
    CHECK_ERROR(trop_explain(registry, 23000, NULL, &error), TROP_ERR_INVALID_ARGUMENT, "json");

    /* Counts may be left out. */
    CHECK(trop_release(registry, NULL, NULL, NULL) == TROP_OK);
    CHECK(trop_release_port(registry, 23000, 0, NULL, NULL) == TROP_OK);
}

static void null_inputs(void)
{
    trop_migrate_options migrate = TROP_MIGRATE_OPTIONS_INIT;
    CHECK_ERROR(migrate_with(NULL), TROP_ERR_INVALID_ARGUMENT, "from");
    migrate.from = "/c/from";
    CHECK_ERROR(migrate_with(&migrate), TROP_ERR_INVALID_ARGUMENT, "to");
    migrate.from = NULL;
    migrate.to = "/c/to";
    CHECK_ERROR(migrate_with(&migrate), TROP_ERR_INVALID_ARGUMENT, "from");
    CHECK_ERROR(validate_with(NULL), TROP_ERR_INVALID_ARGUMENT, "file");

    CHECK(release_with(NULL) == TROP_OK);
    CHECK(list_with(NULL) == TROP_OK);
    CHECK(clean_with(NULL) == TROP_OK);
    CHECK(lease_with(NULL) == TROP_OK);
    CHECK(find_with(NULL, NULL) == TROP_OK);
}

static void null_errors(void)
{
    /* Without a place for the error the status alone tells. */
    CHECK(trop_open(NULL, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_reserve(NULL, NULL, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_release(NULL, NULL, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_release_port(NULL, 23000, 0, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_find(NULL, NULL, NULL, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_find_port(NULL, 23000, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_list(NULL, NULL, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_projects(NULL, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_reserve_group(NULL, NULL, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_clean(NULL, NULL, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_migrate(NULL, NULL, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_scan(NULL, -1, -1, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_validate_config(NULL, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_validate_database(NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_lease(NULL, NULL, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_lease_many(NULL, 0, NULL, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_lease_listen(NULL, NULL, 0, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_lease_bind(NULL, 0, NULL, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_lease_wait_listening(NULL, 0, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_leases(NULL, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_own_leases(NULL, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_explain(NULL, 0, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
}

static void null_is_initialised_closed_and_freed(void)
{
    trop_open_options_init(NULL, sizeof(trop_open_options));
    trop_reserve_options_init(NULL, sizeof(trop_reserve_options));
    trop_release_options_init(NULL, sizeof(trop_release_options));
    trop_list_options_init(NULL, sizeof(trop_list_options));
    trop_group_options_init(NULL, sizeof(trop_group_options));
    trop_clean_options_init(NULL, sizeof(trop_clean_options));
    trop_migrate_options_init(NULL, sizeof(trop_migrate_options));
    trop_lease_options_init(NULL, sizeof(trop_lease_options));
    trop_registry_close(NULL);
    trop_registry_free(NULL);
    trop_registry_forget(NULL);
    trop_reservation_free(NULL);
    trop_error_free(NULL);
    trop_string_free(NULL);
}

static void accessors_of_null(void)
{
    CHECK(trop_error_code(NULL) == TROP_OK);
    CHECK(trop_error_name(NULL) == NULL);
    CHECK(trop_error_message(NULL) == NULL);
    CHECK(trop_error_argument(NULL) == NULL);
    CHECK(trop_error_errno(NULL) == 0);
    CHECK(trop_reservation_port(NULL) == 0);
    CHECK(trop_reservation_path(NULL) == NULL);
    CHECK(trop_reservation_tag(NULL) == NULL);
    CHECK(trop_reservation_project(NULL) == NULL);
    CHECK(trop_reservation_task(NULL) == NULL);
    CHECK(trop_reservation_created_at(NULL) == -1);
    CHECK(trop_reservation_last_used_at(NULL) == -1);
    CHECK(trop_reservation_created(NULL) == 0);
    CHECK(trop_reservation_refusal(NULL) == NULL);
    CHECK(trop_reservation_cleanup(NULL) == NULL);
}

/* Compared byte for byte, over memory filled with 0 and with 1 bits, so that padding would show. */
#define CHECK_INIT(type, macro, init)                        \
    do {                                                     \
        type made, expected = macro;                         \
        memset(&made, 0, sizeof(made));                      \
        init(&made, sizeof(made));                          \
        CHECK(memcmp(&made, &expected, sizeof(made)) == 0);  \
        memset(&made, 0xff, sizeof(made));                   \
        init(&made, sizeof(made));                          \
        CHECK(memcmp(&made, &expected, sizeof(made)) == 0);  \
        CHECK(made.size == sizeof(type));                    \
    } while (0)

static void init_macros_equal_the_init_functions(void)
{
    CHECK_INIT(trop_open_options, TROP_OPEN_OPTIONS_INIT, trop_open_options_init);
    CHECK_INIT(trop_reserve_options, TROP_RESERVE_OPTIONS_INIT, trop_reserve_options_init);
    CHECK_INIT(trop_release_options, TROP_RELEASE_OPTIONS_INIT, trop_release_options_init);
    CHECK_INIT(trop_list_options, TROP_LIST_OPTIONS_INIT, trop_list_options_init);
    CHECK_INIT(trop_group_options, TROP_GROUP_OPTIONS_INIT, trop_group_options_init);
    CHECK_INIT(trop_clean_options, TROP_CLEAN_OPTIONS_INIT, trop_clean_options_init);
    CHECK_INIT(trop_migrate_options, TROP_MIGRATE_OPTIONS_INIT, trop_migrate_options_init);
    CHECK_INIT(trop_lease_options, TROP_LEASE_OPTIONS_INIT, trop_lease_options_init);
}

/* Programs compiled against other headers: nothing behind a shorter struct is read, and what a longer one has
 * in addition must be zero. Every version ends with a whole field. */
#define CHECK_SIZES(type, macro, first_version, last_field, call)                           \
    do {                                                                                    \
        struct {                                                                            \
            type known;                                                                     \
            unsigned char later[24];                                                        \
        } options = { macro, { 0 } };                                                       \
        struct {                                                                            \
            char byte;                                                                      \
            type options;                                                                   \
        } aligned;                                                                          \
        size_t alignment = sizeof(aligned) - sizeof(type);                                  \
        CHECK(offsetof(type, last_field) + sizeof(options.known.last_field) == sizeof(type)); \
        for (uint32_t size = 0; size <= sizeof(options); size++) {                          \
            int is_known = size >= (first_version) && size % alignment == 0;                \
            options.known.size = size;                                                      \
            if (!is_known) {                                                                \
                CHECK_ERROR(call(&options.known), TROP_ERR_INVALID_ARGUMENT, "options");    \
                continue;                                                                   \
            }                                                                               \
            unsigned char whole[sizeof(options)];                                           \
            memcpy(whole, &options, sizeof(options));                                       \
            memset((unsigned char *)&options + size, 0xff, sizeof(options) - size);         \
            CHECK(call(&options.known) == TROP_OK && error == NULL);                        \
            memcpy(&options, whole, sizeof(options));                                       \
        }                                                                                   \
        const uint32_t wrong[] = { 4097, UINT32_MAX };                                      \
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {                     \
            options.known.size = wrong[i];                                                  \
            CHECK_ERROR(call(&options.known), TROP_ERR_INVALID_ARGUMENT, "options");        \
        }                                                                                   \
        options.known.size = sizeof(options);                                               \
        for (size_t i = 0; i < sizeof(options.later); i++) {                                \
            options.later[i] = 1;                                                           \
            CHECK_ERROR(call(&options.known), TROP_ERR_INVALID_ARGUMENT, "options");        \
            options.later[i] = 0;                                                           \
        }                                                                                   \
    } while (0)

/* Options that succeed and change nothing, because these tests are not about required arguments. */
#define MIGRATE_SOMETHING { (uint32_t)sizeof(trop_migrate_options), TROP_RECURSIVE, "/c/none", "/c/other" }
#define GROUP_OF_A_FILE { (uint32_t)sizeof(trop_group_options), TROP_DRY_RUN, group_file, NULL }

static void sizes_of_other_versions(void)
{
    CHECK_SIZES(trop_open_options, TROP_OPEN_OPTIONS_INIT, offsetof(trop_open_options, start_dir), config_file,
                open_with);
    CHECK_SIZES(trop_reserve_options, TROP_RESERVE_OPTIONS_INIT, offsetof(trop_reserve_options, project), task,
                reserve_with);
    CHECK_SIZES(trop_release_options, TROP_RELEASE_OPTIONS_INIT, sizeof(trop_release_options), tag, release_with);
    CHECK_SIZES(trop_list_options, TROP_LIST_OPTIONS_INIT, sizeof(trop_list_options), path, list_with);
    CHECK_SIZES(trop_group_options, GROUP_OF_A_FILE, sizeof(trop_group_options), task, group_with);
    CHECK_SIZES(trop_clean_options, TROP_CLEAN_OPTIONS_INIT, sizeof(trop_clean_options), days, clean_with);
    CHECK_SIZES(trop_migrate_options, MIGRATE_SOMETHING, sizeof(trop_migrate_options), to, migrate_with);
    CHECK_SIZES(trop_lease_options, TROP_LEASE_OPTIONS_INIT, sizeof(trop_lease_options), reserved, lease_with);
}

#define PROBES                                                                                            \
    (TROP_SKIP_OCCUPANCY_CHECK | TROP_SKIP_TCP | TROP_SKIP_UDP | TROP_SKIP_IPV4 | TROP_SKIP_IPV6          \
     | TROP_CHECK_ALL_INTERFACES | TROP_CHECK_LOOPBACK_ONLY)

/* Every flag that is not among the known ones. */
#define CHECK_UNKNOWN_FLAGS(known, options, call)                                    \
    do {                                                                             \
        for (int bit = 0; bit < 32; bit++) {                                         \
            (options).flags = (uint32_t)1 << bit;                                    \
            if (((options).flags & (uint32_t)(known)) == 0)                          \
                CHECK_ERROR(call(&(options)), TROP_ERR_INVALID_ARGUMENT, "flags");   \
        }                                                                            \
        (options).flags = 0;                                                         \
    } while (0)

static void unknown_flags_and_reserved_fields(void)
{
    trop_open_options open = TROP_OPEN_OPTIONS_INIT;
    trop_reserve_options reserve = TROP_RESERVE_OPTIONS_INIT;
    trop_release_options release = TROP_RELEASE_OPTIONS_INIT;
    trop_list_options list = TROP_LIST_OPTIONS_INIT;
    trop_group_options group = GROUP_OF_A_FILE;
    trop_clean_options clean = TROP_CLEAN_OPTIONS_INIT;
    trop_migrate_options migrate = MIGRATE_SOMETHING;
    trop_lease_options lease = TROP_LEASE_OPTIONS_INIT;
    CHECK_UNKNOWN_FLAGS(TROP_OPEN_NO_CREATE | TROP_OPEN_SHARED | TROP_OPEN_NO_DISCOVERY | TROP_OPEN_NO_VARIABLES
                            | TROP_OPEN_ALLOW_UNSAFE_PORTS | TROP_OPEN_AVOID_UNSAFE_PORTS | PROBES,
                        open, open_with);
    open.flags = TROP_OPEN_ALLOW_UNSAFE_PORTS | TROP_OPEN_AVOID_UNSAFE_PORTS;
    CHECK_ERROR(open_with(&open), TROP_ERR_INVALID_ARGUMENT, "flags");
    open.flags = 0;
    CHECK_UNKNOWN_FLAGS(TROP_RESERVE_CLEAR_PROJECT | TROP_RESERVE_CLEAR_TASK | TROP_RESERVE_OVERWRITE
                            | TROP_RESERVE_IGNORE_OCCUPIED | TROP_RESERVE_IGNORE_EXCLUSIONS
                            | TROP_RESERVE_DISABLE_AUTOPRUNE | TROP_RESERVE_DISABLE_AUTOEXPIRE
                            | TROP_REFUSE_UNRELATED_PATH | TROP_ALLOW_PROJECT_CHANGE | TROP_ALLOW_TASK_CHANGE
                            | TROP_FORCE | TROP_DRY_RUN | PROBES,
                        reserve, reserve_with);
    CHECK_UNKNOWN_FLAGS(TROP_RELEASE_UNTAGGED_ONLY | TROP_RECURSIVE | TROP_REFUSE_UNRELATED_PATH | TROP_DRY_RUN,
                        release, release_with);
    CHECK_UNKNOWN_FLAGS(0, list, list_with);
    CHECK_UNKNOWN_FLAGS(TROP_GROUP_BY_VARIABLE | TROP_REFUSE_UNRELATED_PATH | TROP_ALLOW_PROJECT_CHANGE
                            | TROP_ALLOW_TASK_CHANGE | TROP_FORCE | TROP_DRY_RUN | PROBES,
                        group, group_with);
    CHECK_UNKNOWN_FLAGS(TROP_CLEAN_PRUNE | TROP_CLEAN_EXPIRE | TROP_DRY_RUN, clean, clean_with);
    CHECK_UNKNOWN_FLAGS(TROP_RECURSIVE | TROP_FORCE | TROP_DRY_RUN, migrate, migrate_with);
    CHECK_UNKNOWN_FLAGS(TROP_LEASE_CONTIGUOUS | TROP_LEASE_HOLD | PROBES, lease, lease_with);
    for (int bit = 0; bit < 32; bit++)
        if ((uint32_t)1 << bit != TROP_DRY_RUN && (uint32_t)1 << bit != TROP_FORCE)
            CHECK_ERROR(release_port_with(23000, (uint32_t)1 << bit), TROP_ERR_INVALID_ARGUMENT, "flags");

    open.reserved = 1;
    CHECK_ERROR(open_with(&open), TROP_ERR_INVALID_ARGUMENT, "options");
    reserve.reserved = 1;
    CHECK_ERROR(reserve_with(&reserve), TROP_ERR_INVALID_ARGUMENT, "options");
    lease.reserved = 1;
    CHECK_ERROR(lease_with(&lease), TROP_ERR_INVALID_ARGUMENT, "options");
}

static void options_that_exclude_each_other(void)
{
    trop_open_options shared = TROP_OPEN_OPTIONS_INIT;
    shared.flags = TROP_OPEN_SHARED | TROP_SKIP_TCP;
    CHECK_ERROR(open_with(&shared), TROP_ERR_INVALID_ARGUMENT, "flags");
    shared.flags = TROP_OPEN_SHARED;
    shared.ports_max = 23009;
    CHECK_ERROR(open_with(&shared), TROP_ERR_INVALID_ARGUMENT, "flags");
    shared.ports_max = -1;
    shared.config_file = "/dev/null";
    CHECK_ERROR(open_with(&shared), TROP_ERR_INVALID_ARGUMENT, "flags");

    trop_open_options open = TROP_OPEN_OPTIONS_INIT;
    open.start_dir = "/";
    open.config_file = "/dev/null";
    CHECK_ERROR(open_with(&open), TROP_ERR_INVALID_ARGUMENT, "config_file");
    open.flags = TROP_OPEN_NO_DISCOVERY;
    CHECK_ERROR(open_with(&open), TROP_ERR_INVALID_ARGUMENT, "discovery");
    open.start_dir = NULL;
    CHECK_ERROR(open_with(&open), TROP_ERR_INVALID_ARGUMENT, "discovery");
    open.start_dir = "/";
    open.config_file = NULL;
    CHECK_ERROR(open_with(&open), TROP_ERR_INVALID_ARGUMENT, "discovery");

    trop_reserve_options reserve = TROP_RESERVE_OPTIONS_INIT;
    reserve.flags = TROP_RESERVE_CLEAR_PROJECT;
    reserve.project = "shop";
    CHECK_ERROR(reserve_with(&reserve), TROP_ERR_INVALID_ARGUMENT, "clear_project");
    reserve.project = NULL;
    reserve.flags = TROP_RESERVE_CLEAR_TASK;
    reserve.task = "sale";
    CHECK_ERROR(reserve_with(&reserve), TROP_ERR_INVALID_ARGUMENT, "clear_task");

    trop_release_options release = TROP_RELEASE_OPTIONS_INIT;
    release.flags = TROP_RELEASE_UNTAGGED_ONLY;
    release.tag = "web";
    CHECK_ERROR(release_with(&release), TROP_ERR_INVALID_ARGUMENT, "untagged_only");

    trop_clean_options clean = TROP_CLEAN_OPTIONS_INIT;
    clean.flags = TROP_CLEAN_PRUNE;
    clean.days = 7;
    CHECK_ERROR(clean_with(&clean), TROP_ERR_INVALID_ARGUMENT, "days");
}

static void refused_texts(const char *bad)
{
    trop_reserve_options reserve = TROP_RESERVE_OPTIONS_INIT;
    reserve.tag = bad;
    CHECK_ERROR(reserve_with(&reserve), TROP_ERR_INVALID_ARGUMENT, "tag");
    reserve.tag = NULL;
    reserve.path = bad;
    CHECK_ERROR(reserve_with(&reserve), TROP_ERR_INVALID_ARGUMENT, "path");
    reserve.path = NULL;
    reserve.project = bad;
    CHECK_ERROR(reserve_with(&reserve), TROP_ERR_INVALID_ARGUMENT, "project");
    reserve.project = NULL;
    reserve.task = bad;
    CHECK_ERROR(reserve_with(&reserve), TROP_ERR_INVALID_ARGUMENT, "task");
    trop_release_options release = TROP_RELEASE_OPTIONS_INIT;
    release.tag = bad;
    CHECK_ERROR(release_with(&release), TROP_ERR_INVALID_ARGUMENT, "tag");
    release.tag = NULL;
    release.path = bad;
    CHECK_ERROR(release_with(&release), TROP_ERR_INVALID_ARGUMENT, "path");
    CHECK_ERROR(find_with(bad, NULL), TROP_ERR_INVALID_ARGUMENT, "path");
    CHECK_ERROR(find_with(NULL, bad), TROP_ERR_INVALID_ARGUMENT, "tag");
    trop_group_options group = TROP_GROUP_OPTIONS_INIT;
    group.file = group_file;
    group.task = bad;
    CHECK_ERROR(group_with(&group), TROP_ERR_INVALID_ARGUMENT, "task");
    trop_migrate_options migrate = TROP_MIGRATE_OPTIONS_INIT;
    migrate.from = bad;
    migrate.to = "/c/to";
    CHECK_ERROR(migrate_with(&migrate), TROP_ERR_INVALID_ARGUMENT, "from");
    migrate.from = "/c/from";
    migrate.to = bad;
    CHECK_ERROR(migrate_with(&migrate), TROP_ERR_INVALID_ARGUMENT, "to");
    trop_lease_options lease = TROP_LEASE_OPTIONS_INIT;
    lease.label = bad;
    CHECK_ERROR(lease_with(&lease), TROP_ERR_INVALID_ARGUMENT, "label");
}

/* Any bytes may name a file; there is none with this name. */
static void refused_files(const char *bad)
{
    trop_open_options open = TROP_OPEN_OPTIONS_INIT;
    open.start_dir = bad;
    CHECK_ERROR(open_with(&open), TROP_ERR_INVALID_ARGUMENT, "start_dir");
    open.start_dir = NULL;
    open.config_file = bad;
    CHECK_ERROR(open_with(&open), TROP_ERR_INVALID_ARGUMENT, "config_file");
    trop_group_options group = TROP_GROUP_OPTIONS_INIT;
    group.file = bad;
    CHECK_ERROR(group_with(&group), TROP_ERR_INVALID_ARGUMENT, "file");
    CHECK_ERROR(validate_with(bad), TROP_ERR_INVALID_ARGUMENT, "file");
    trop_list_options list = TROP_LIST_OPTIONS_INIT;
    list.path = bad;
    CHECK_ERROR(list_with(&list), TROP_ERR_INVALID_ARGUMENT, "path");
}

static void hostile_texts(void)
{
    static const char *const not_utf8[] = { "\xff", "a\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80" };
    for (size_t i = 0; i < sizeof(not_utf8) / sizeof(not_utf8[0]); i++) {
        refused_texts(not_utf8[i]);
        trop_list_options list = TROP_LIST_OPTIONS_INIT;
        list.project = not_utf8[i];
        CHECK_ERROR(list_with(&list), TROP_ERR_INVALID_ARGUMENT, "project");
        list.project = NULL;
        list.tag = not_utf8[i];
        CHECK_ERROR(list_with(&list), TROP_ERR_INVALID_ARGUMENT, "tag");
        trop_open_options open = TROP_OPEN_OPTIONS_INIT;
        open.excluded = not_utf8[i];
        CHECK_ERROR(open_with(&open), TROP_ERR_INVALID_ARGUMENT, "excluded");
        refused_files(not_utf8[i]);
    }
    refused_files("");
    refused_texts("");

    static char endless[100001];
    memset(endless, 'x', sizeof(endless) - 1);
    trop_reserve_options reserve = TROP_RESERVE_OPTIONS_INIT;
    reserve.tag = endless;
    CHECK_ERROR(reserve_with(&reserve), TROP_ERR_INVALID_ARGUMENT, "tag");
    reserve.tag = NULL;
    reserve.project = endless;
    CHECK_ERROR(reserve_with(&reserve), TROP_ERR_INVALID_ARGUMENT, "project");
    reserve.project = NULL;
    reserve.task = endless;
    CHECK_ERROR(reserve_with(&reserve), TROP_ERR_INVALID_ARGUMENT, "task");
    CHECK_ERROR(find_with(NULL, endless), TROP_ERR_INVALID_ARGUMENT, "tag");
    trop_lease_options lease = TROP_LEASE_OPTIONS_INIT;
    lease.label = endless;
    CHECK_ERROR(lease_with(&lease), TROP_ERR_INVALID_ARGUMENT, "label");
    trop_list_options list = TROP_LIST_OPTIONS_INIT;
    list.tag = list.project = endless; /* nothing has it */
    CHECK(list_with(&list) == TROP_OK);

    CHECK(validate_with(endless) != TROP_OK);
    trop_error_free(error);
    CHECK_ERROR(validate_with("/c/nowhere.yaml"), TROP_ERR_INVALID_ARGUMENT, "file");
    CHECK_ERROR(validate_with("/"), TROP_ERR_INVALID_ARGUMENT, "file");
    CHECK_ERROR(validate_with("/dev/null"), TROP_ERR_INVALID_ARGUMENT, "file");
}

static void numbers_out_of_range(void)
{
    static const int32_t bad[] = { 0, -2, 65536, INT32_MIN, INT32_MAX };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        trop_reserve_options reserve = TROP_RESERVE_OPTIONS_INIT;
        reserve.port = bad[i];
        CHECK_ERROR(reserve_with(&reserve), TROP_ERR_INVALID_ARGUMENT, "port");
        reserve.port = -1;
        reserve.min = bad[i];
        CHECK_ERROR(reserve_with(&reserve), TROP_ERR_INVALID_ARGUMENT, "min");
        reserve.min = -1;
        reserve.max = bad[i];
        CHECK_ERROR(reserve_with(&reserve), TROP_ERR_INVALID_ARGUMENT, "max");
        trop_open_options open = TROP_OPEN_OPTIONS_INIT;
        open.ports_min = bad[i];
        CHECK_ERROR(open_with(&open), TROP_ERR_INVALID_ARGUMENT, "ports");
        trop_lease_options lease = TROP_LEASE_OPTIONS_INIT;
        lease.port = bad[i];
        CHECK_ERROR(lease_with(&lease), TROP_ERR_INVALID_ARGUMENT, "port");
        lease.port = -1;
        lease.min = bad[i];
        CHECK_ERROR(lease_with(&lease), TROP_ERR_INVALID_ARGUMENT, "min");
        lease.min = -1;
        lease.max = bad[i];
        CHECK_ERROR(lease_with(&lease), TROP_ERR_INVALID_ARGUMENT, "max");
        CHECK_ERROR(explain_with(bad[i]), TROP_ERR_INVALID_ARGUMENT, "port");
        CHECK_ERROR(find_port_with(bad[i]), TROP_ERR_INVALID_ARGUMENT, "port");
        CHECK_ERROR(release_port_with(bad[i], 0), TROP_ERR_INVALID_ARGUMENT, "port");
        CHECK_ERROR(scan_with(bad[i], -1), TROP_ERR_INVALID_ARGUMENT, "min");
        CHECK_ERROR(scan_with(-1, bad[i]), TROP_ERR_INVALID_ARGUMENT, "max");
    }
    /* -1 is an error, and not "none", where a port is required. */
    CHECK_ERROR(find_port_with(-1), TROP_ERR_INVALID_ARGUMENT, "port");
    CHECK_ERROR(release_port_with(-1, 0), TROP_ERR_INVALID_ARGUMENT, "port");
    CHECK_ERROR(explain_with(-1), TROP_ERR_INVALID_ARGUMENT, "port");
    CHECK_ERROR(scan_with(23001, 23000), TROP_ERR_CONFIG, "ports");
    static const int64_t bad_days[] = { 0, -2, INT64_MIN, (int64_t)UINT32_MAX + 1, INT64_MAX };
    for (size_t i = 0; i < sizeof(bad_days) / sizeof(bad_days[0]); i++) {
        trop_clean_options clean = TROP_CLEAN_OPTIONS_INIT;
        clean.days = bad_days[i];
        CHECK_ERROR(clean_with(&clean), TROP_ERR_INVALID_ARGUMENT, "days");
        clean.flags = TROP_CLEAN_EXPIRE;
        CHECK_ERROR(clean_with(&clean), TROP_ERR_INVALID_ARGUMENT, "days");
    }
    trop_open_options open = TROP_OPEN_OPTIONS_INIT;
    open.busy_timeout_ms = -2;
    CHECK_ERROR(open_with(&open), TROP_ERR_INVALID_ARGUMENT, "busy_timeout");
}

static void the_error_object(void)
{
    trop_reserve_options reserve = TROP_RESERVE_OPTIONS_INIT;
    reserve.tag = "";
    trop_reservation *reservation;
    CHECK(trop_reserve(registry, &reserve, &reservation, &error) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(same_text(trop_error_name(error), "TROP_INVALID_ARGUMENT"));
    CHECK(same_text(trop_error_message(error), "Invalid tag: Cannot be empty"));
    CHECK(trop_error_errno(error) == 0);
    trop_error_free(error);

    trop_open_options open = TROP_OPEN_OPTIONS_INIT;
    open.data_dir = "/dev/null";
    trop_registry *opened;
    CHECK(trop_open(&open, &opened, &error) == TROP_ERR_IO);
    CHECK(same_text(trop_error_name(error), "TROP_IO"));
    CHECK(same_text(trop_error_argument(error), "data_dir"));
    CHECK(trop_error_errno(error) != 0);
    trop_error_free(error);
    error = NULL;
}

static void versions_of_header_and_library(void)
{
    char version[64];
    snprintf(version, sizeof(version), "%d.%d.%d", TROP_VERSION_MAJOR, TROP_VERSION_MINOR, TROP_VERSION_PATCH);
    CHECK(same_text(trop_version(), version));
    CHECK(trop_abi_version() == TROP_ABI_VERSION);
    CHECK(strncmp(trop_sqlite_version(), "3.", 2) == 0);
}

static void nothing_was_changed(void)
{
    char *json;
    MUST(trop_release(registry, NULL, NULL, &error)); /* what the valid calls reserved */
    MUST(trop_list(registry, NULL, &json, &error));
    CHECK(same_text(json, "[]"));
    trop_string_free(json);
    MUST(trop_leases(registry, &json, &error));
    CHECK(same_text(json, "[]"));
    trop_string_free(json);
}

int main(void)
{
    MUST(trop_open(NULL, &registry, &error)); /* makes the data directory */
    make_group_file();
    null_registry();
    null_lease();
    null_out_parameters();
    null_inputs();
    null_errors();
    null_is_initialised_closed_and_freed();
    accessors_of_null();
    init_macros_equal_the_init_functions();
    sizes_of_other_versions();
    unknown_flags_and_reserved_fields();
    options_that_exclude_each_other();
    hostile_texts();
    numbers_out_of_range();
    the_error_object();
    versions_of_header_and_library();
    nothing_was_changed();
    trop_registry_free(registry);
    return failures != 0;
}
