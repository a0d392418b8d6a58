/* What only C can hand over: NULL, wrong sizes, unknown bytes and flags, text that is not UTF-8. */
#include "check.h"

/* What no call may leave in an out-parameter. */
static char garbage;
#define GARBAGE ((void *)&garbage)

static trop_error *error;
static trop_registry *registry;

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

static void null_is_an_error_or_allowed(void)
{
    trop_reservation *reservation = GARBAGE;
    uint64_t count = 99;
    char *json = GARBAGE;

    CHECK_ERROR(trop_open(NULL, NULL, &error), TROP_ERR_INVALID_ARGUMENT, "registry");
    CHECK_ERROR(trop_reserve(NULL, NULL, &reservation, &error), TROP_ERR_INVALID_ARGUMENT, "registry");
    CHECK(reservation == NULL);
    CHECK_ERROR(trop_reserve(registry, NULL, NULL, &error), TROP_ERR_INVALID_ARGUMENT, "reservation");
    CHECK_ERROR(trop_release(NULL, NULL, &count, &error), TROP_ERR_INVALID_ARGUMENT, "registry");
    CHECK(count == 0);
    CHECK_ERROR(trop_list_json(NULL, &json, &error), TROP_ERR_INVALID_ARGUMENT, "registry");
    CHECK(json == NULL);
    CHECK_ERROR(trop_list_json(registry, NULL, &error), TROP_ERR_INVALID_ARGUMENT, "json");

    /* Without a place for the error the status alone tells. */
    CHECK(trop_open(NULL, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_reserve(NULL, NULL, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_release(NULL, NULL, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);
    CHECK(trop_list_json(NULL, NULL, NULL) == TROP_ERR_INVALID_ARGUMENT);

    /* The count and the options may be left out. */
    CHECK(trop_release(registry, NULL, NULL, NULL) == TROP_OK);

    trop_open_options_init(NULL, sizeof(trop_open_options));
    trop_reserve_options_init(NULL, sizeof(trop_reserve_options));
    trop_release_options_init(NULL, sizeof(trop_release_options));
    trop_registry_close(NULL);
    trop_registry_free(NULL);
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
}

/* Byte for byte, over memory of both values, so that no padding hides. */
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
}

/* A program compiled against a later header, whose struct is longer. */
#define CHECK_SIZES(type, macro, call)                                                      \
    do {                                                                                    \
        struct {                                                                            \
            type known;                                                                     \
            unsigned char later[24];                                                        \
        } options = { macro, { 0 } };                                                       \
        const uint32_t wrong[] = { 0, 1, 4, sizeof(type) - 1, 4097, UINT32_MAX };           \
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {                     \
            options.known.size = wrong[i];                                                  \
            CHECK_ERROR(call(&options.known), TROP_ERR_INVALID_ARGUMENT, "options");        \
        }                                                                                   \
        options.known.size = sizeof(options);                                               \
        CHECK(call(&options.known) == TROP_OK && error == NULL);                            \
        for (size_t i = 0; i < sizeof(options.later); i++) {                                \
            options.later[i] = 1;                                                           \
            CHECK_ERROR(call(&options.known), TROP_ERR_INVALID_ARGUMENT, "options");        \
            options.later[i] = 0;                                                           \
        }                                                                                   \
    } while (0)

static void sizes_of_other_versions(void)
{
    CHECK_SIZES(trop_open_options, TROP_OPEN_OPTIONS_INIT, open_with);
    CHECK_SIZES(trop_reserve_options, TROP_RESERVE_OPTIONS_INIT, reserve_with);
    CHECK_SIZES(trop_release_options, TROP_RELEASE_OPTIONS_INIT, release_with);
}

static void unknown_flags_and_reserved_fields(void)
{
    trop_open_options open = TROP_OPEN_OPTIONS_INIT;
    trop_reserve_options reserve = TROP_RESERVE_OPTIONS_INIT;
    trop_release_options release = TROP_RELEASE_OPTIONS_INIT;
    for (int bit = 0; bit < 32; bit++) {
        uint32_t flag = (uint32_t)1 << bit;
        if (flag > TROP_OPEN_CHECK_ALL_INTERFACES) {
            open.flags = flag;
            CHECK_ERROR(open_with(&open), TROP_ERR_INVALID_ARGUMENT, "flags");
        }
        if (flag > TROP_RESERVE_REFUSE_UNRELATED_PATH) {
            reserve.flags = flag;
            CHECK_ERROR(reserve_with(&reserve), TROP_ERR_INVALID_ARGUMENT, "flags");
        }
        if (flag > TROP_RELEASE_REFUSE_UNRELATED_PATH) {
            release.flags = flag;
            CHECK_ERROR(release_with(&release), TROP_ERR_INVALID_ARGUMENT, "flags");
        }
    }
    open.flags = 0;
    open.reserved = 1;
    CHECK_ERROR(open_with(&open), TROP_ERR_INVALID_ARGUMENT, "options");
    reserve.flags = 0;
    reserve.reserved = 1;
    CHECK_ERROR(reserve_with(&reserve), TROP_ERR_INVALID_ARGUMENT, "options");

    trop_open_options shared = TROP_OPEN_OPTIONS_INIT;
    shared.flags = TROP_OPEN_SHARED | TROP_OPEN_SKIP_TCP;
    CHECK_ERROR(open_with(&shared), TROP_ERR_INVALID_ARGUMENT, "flags");
    shared.flags = TROP_OPEN_SHARED;
    shared.ports_max = 6000;
    CHECK_ERROR(open_with(&shared), TROP_ERR_INVALID_ARGUMENT, "flags");
}

static void text_that_is_not_utf8(void)
{
    static const char *const bad[] = { "\xff", "a\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        trop_reserve_options reserve = TROP_RESERVE_OPTIONS_INIT;
        reserve.tag = bad[i];
        CHECK_ERROR(reserve_with(&reserve), TROP_ERR_INVALID_ARGUMENT, "tag");
        reserve.tag = NULL;
        reserve.path = bad[i];
        CHECK_ERROR(reserve_with(&reserve), TROP_ERR_INVALID_ARGUMENT, "path");
        trop_release_options release = TROP_RELEASE_OPTIONS_INIT;
        release.tag = bad[i];
        CHECK_ERROR(release_with(&release), TROP_ERR_INVALID_ARGUMENT, "tag");
        release.tag = NULL;
        release.path = bad[i];
        CHECK_ERROR(release_with(&release), TROP_ERR_INVALID_ARGUMENT, "path");
        trop_open_options open = TROP_OPEN_OPTIONS_INIT;
        open.excluded = bad[i];
        CHECK_ERROR(open_with(&open), TROP_ERR_INVALID_ARGUMENT, "excluded");
    }
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
    MUST(trop_list_json(registry, &json, &error));
    CHECK(same_text(json, "[]"));
    trop_string_free(json);
}

int main(void)
{
    MUST(trop_open(NULL, &registry, &error));
    null_is_an_error_or_allowed();
    accessors_of_null();
    init_macros_equal_the_init_functions();
    sizes_of_other_versions();
    unknown_flags_and_reserved_fields();
    text_that_is_not_utf8();
    numbers_out_of_range();
    the_error_object();
    versions_of_header_and_library();
    nothing_was_changed();
    trop_registry_free(registry);
    return failures != 0;
}
