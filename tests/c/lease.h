/* Shared by the tests of leases: a registry, and a second one of the same directory that sees its leases. */
#ifndef LEASE_H
#define LEASE_H

#include "check.h"

#include <unistd.h>

#define MIN 23000
#define MAX 23009

static trop_error *error;
static trop_registry *registry;

/* A second registry of the same directory: another owner, which sees the leases of the first. */
static trop_registry *other;

/* Nothing that runs on this machine or configures it changes the result. */
static inline trop_registry *opened(int32_t min, int32_t max, uint32_t flags)
{
    trop_open_options options = TROP_OPEN_OPTIONS_INIT;
    options.flags = TROP_OPEN_NO_DISCOVERY | TROP_OPEN_NO_VARIABLES | flags;
    options.ports_min = min;
    options.ports_max = max;
    options.excluded = "23003";
    trop_registry *result;
    MUST(trop_open(&options, &result, &error));
    return result;
}

static inline trop_lease_handle *leased(const trop_lease_options *options)
{
    trop_lease_handle *lease;
    MUST(trop_lease(registry, options, &lease, &error));
    return lease;
}

static inline trop_lease_handle *leased_at(uint16_t port)
{
    trop_lease_options options = TROP_LEASE_OPTIONS_INIT;
    options.port = port;
    return leased(&options);
}

/* Whether the second registry can have the port, which it gives back at once. */
static inline int is_free(uint16_t port)
{
    trop_lease_options options = TROP_LEASE_OPTIONS_INIT;
    options.min = options.max = port;
    trop_lease_handle *lease;
    int32_t status = trop_lease(other, &options, &lease, NULL);
    CHECK(status == TROP_OK || status == TROP_ERR_EXHAUSTED);
    trop_lease_free(lease);
    return status == TROP_OK;
}

static inline size_t occurrences(const char *text, const char *part)
{
    size_t count = 0;
    for (text = strstr(text, part); text != NULL; text = strstr(text + 1, part))
        count++;
    return count;
}

/* How often a text occurs in the list of everybody's leases. */
static inline size_t listed(const char *text)
{
    char *json;
    MUST(trop_leases(other, &json, &error));
    size_t count = occurrences(json, text);
    trop_string_free(json);
    return count;
}

static inline size_t own(trop_registry *of)
{
    char *json;
    MUST(trop_own_leases(of, &json, &error));
    size_t count = occurrences(json, "\"port\":");
    trop_string_free(json);
    return count;
}

/* Opens both. Ends the program if it hangs. */
static inline void begin(void)
{
    alarm(300);
    registry = opened(MIN, MAX, TROP_SKIP_OCCUPANCY_CHECK);
    other = opened(MIN, MAX, TROP_SKIP_OCCUPANCY_CHECK);
}

static inline int end(void)
{
    trop_registry_free(registry);
    trop_registry_free(other);
    return failures != 0;
}

#endif
