/* The flags that switch probes off or on, in every call that takes them: whether a port that something has
 * bound is given out. And what trop_scan reports of such a port. */
#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOCKETS 4

static const struct kind {
    int family;
    int type;
    const char *name;
} kinds[SOCKETS] = {
    { AF_INET, SOCK_STREAM, "TCP over IPv4" },
    { AF_INET, SOCK_DGRAM, "UDP over IPv4" },
    { AF_INET6, SOCK_STREAM, "TCP over IPv6" },
    { AF_INET6, SOCK_DGRAM, "UDP over IPv6" },
};

/* A socket bound to the port (0: any) of a loopback address; a negative number if it cannot be bound. */
static int bound(struct kind kind, const char *address, uint16_t *port)
{
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;
    memset(&ipv4, 0, sizeof(ipv4));
    memset(&ipv6, 0, sizeof(ipv6));
    ipv4.sin_family = AF_INET;
    ipv4.sin_port = htons(*port);
    ipv6.sin6_family = AF_INET6;
    ipv6.sin6_port = htons(*port);
    int is_ipv4 = kind.family == AF_INET;
    struct sockaddr *name = is_ipv4 ? (struct sockaddr *)&ipv4 : (struct sockaddr *)&ipv6;
    socklen_t size = is_ipv4 ? sizeof(ipv4) : sizeof(ipv6);
    inet_pton(kind.family, address, is_ipv4 ? (void *)&ipv4.sin_addr : (void *)&ipv6.sin6_addr);

    int held = socket(kind.family, kind.type, 0);
    if (held < 0 || bind(held, name, size) != 0 || getsockname(held, name, &size) != 0) {
        if (held >= 0)
            close(held);
        return -1;
    }
    *port = ntohs(is_ipv4 ? ipv4.sin_port : ipv6.sin6_port);
    return held;
}

static const char *loopback(struct kind kind)
{
    return kind.family == AF_INET ? "127.0.0.1" : "::1";
}

/* A port that nothing has bound, for any protocol and address family of this machine. */
static uint16_t free_port(size_t ways)
{
    for (;;) {
        uint16_t port = 0;
        int held[SOCKETS];
        size_t count = 0;
        while (count < ways && (held[count] = bound(kinds[count], loopback(kinds[count]), &port)) >= 0)
            count++;
        for (size_t i = 0; i < count; i++)
            close(held[i]);
        if (count == ways)
            return port;
    }
}

static trop_error *error;

/* A configuration file with a group of one service. */
static char group_file[300];

/* A registry whose range is one port. */
static trop_registry *opened(uint16_t port, uint32_t flags)
{
    trop_registry *registry;
    trop_open_options open = TROP_OPEN_OPTIONS_INIT;
    open.flags = flags | TROP_OPEN_NO_DISCOVERY | TROP_OPEN_NO_VARIABLES;
    open.ports_min = open.ports_max = port;
    MUST(trop_open(&open, &registry, &error));
    return registry;
}

/* The status of a call that reserves the port, with flags for the registry and for the call. */
static int32_t ask_for(uint16_t port, uint32_t open_flags, uint32_t flags)
{
    trop_registry *registry = opened(port, open_flags);
    trop_reserve_options options = TROP_RESERVE_OPTIONS_INIT;
    options.flags = flags;
    trop_reservation *reservation;
    int32_t status = trop_reserve(registry, &options, &reservation, NULL);
    trop_reservation_free(reservation);
    MUST(trop_release(registry, NULL, NULL, &error));
    trop_registry_free(registry);
    return status;
}

/* The same for a group. */
static int32_t ask_for_group(uint16_t port, uint32_t flags)
{
    trop_registry *registry = opened(port, 0);
    trop_group_options options = TROP_GROUP_OPTIONS_INIT;
    options.file = group_file;
    options.flags = flags;
    char *json;
    int32_t status = trop_reserve_group(registry, &options, &json, NULL);
    trop_string_free(json);
    MUST(trop_release_port(registry, port, 0, NULL, &error));
    trop_registry_free(registry);
    return status;
}

/* The same for a lease. */
static int32_t ask_for_lease(uint16_t port, uint32_t flags)
{
    trop_registry *registry = opened(port, 0);
    trop_lease_options options = TROP_LEASE_OPTIONS_INIT;
    options.flags = flags;
    trop_lease_handle *lease;
    int32_t status = trop_lease(registry, &options, &lease, NULL);
    trop_lease_free(lease);
    trop_registry_free(registry);
    return status;
}

static void check_flags(uint16_t port, uint32_t flags, int32_t expected, const char *what)
{
    const int32_t found[] = { ask_for(port, flags, 0), ask_for(port, 0, flags), ask_for_group(port, flags),
                              ask_for_lease(port, flags) };
    static const char *const calls[] = { "trop_open", "trop_reserve", "trop_reserve_group", "trop_lease" };
    for (size_t i = 0; i < sizeof(found) / sizeof(found[0]); i++) {
        if (found[i] != expected) {
            printf("%s: port %d with the flags %#x of %s gives %d instead of %d\n", what, port, (unsigned)flags,
                   calls[i], (int)found[i], (int)expected);
            failures++;
        }
    }
}

/* A socket is found by the probe of its own kind, and by no other. */
static void each_flag_skips_its_own_probes(size_t ways)
{
    for (size_t i = 0; i < ways; i++) {
        struct kind kind = kinds[i];
        int is_tcp = kind.type == SOCK_STREAM, is_ipv4 = kind.family == AF_INET;
        uint16_t port = free_port(ways);
        int held = bound(kind, loopback(kind), &port);
        CHECK(held >= 0);
        check_flags(port, 0, TROP_ERR_EXHAUSTED, kind.name);
        check_flags(port, TROP_SKIP_OCCUPANCY_CHECK, TROP_OK, kind.name);
        check_flags(port, TROP_SKIP_TCP, is_tcp ? TROP_OK : TROP_ERR_EXHAUSTED, kind.name);
        check_flags(port, TROP_SKIP_UDP, is_tcp ? TROP_ERR_EXHAUSTED : TROP_OK, kind.name);
        check_flags(port, TROP_SKIP_IPV4, is_ipv4 ? TROP_OK : TROP_ERR_EXHAUSTED, kind.name);
        check_flags(port, TROP_SKIP_IPV6, is_ipv4 ? TROP_ERR_EXHAUSTED : TROP_OK, kind.name);
        close(held);
        check_flags(port, 0, TROP_OK, kind.name);
    }
}

static void other_addresses_count_for_all_interfaces(size_t ways)
{
    uint16_t port = free_port(ways);
    int held = bound(kinds[0], "127.0.0.2", &port);
    if (held < 0)
        return; /* some systems have no second loopback address */
    CHECK(ask_for(port, 0, 0) == TROP_OK && ask_for_group(port, 0) == TROP_OK);
    CHECK(ask_for_lease(port, 0) == TROP_ERR_EXHAUSTED);
    check_flags(port, TROP_CHECK_LOOPBACK_ONLY, TROP_OK, "127.0.0.2");
    check_flags(port, TROP_CHECK_ALL_INTERFACES, TROP_ERR_EXHAUSTED, "127.0.0.2");
    const uint32_t both = TROP_CHECK_LOOPBACK_ONLY | TROP_CHECK_ALL_INTERFACES;
    CHECK(ask_for_lease(port, both) == TROP_ERR_INVALID_ARGUMENT);
    close(held);
}

static void a_held_port_can_be_insisted_on(size_t ways)
{
    uint16_t port = free_port(ways);
    int held = bound(kinds[0], "127.0.0.1", &port);
    CHECK(held >= 0);
    trop_registry *registry = opened(port, 0);
    const uint32_t flags[] = { TROP_RESERVE_IGNORE_OCCUPIED, TROP_FORCE };
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        trop_reserve_options options = TROP_RESERVE_OPTIONS_INIT;
        options.port = port;
        trop_reservation *reservation;
        CHECK_ERROR(trop_reserve(registry, &options, &reservation, &error), TROP_ERR_EXHAUSTED, NULL);
        options.flags = flags[i];
        MUST(trop_reserve(registry, &options, &reservation, &error));
        CHECK(trop_reservation_port(reservation) == port && trop_reservation_refusal(reservation) == NULL);
        trop_reservation_free(reservation);
        MUST(trop_release(registry, NULL, NULL, &error));
    }
    trop_registry_free(registry);
    close(held);
}

static void scan_finds_held_ports(size_t ways)
{
    uint16_t port = free_port(ways);
    int held = bound(kinds[0], "127.0.0.1", &port);
    CHECK(held >= 0);
    trop_registry *registry = opened(port, 0);
    char *json;
    MUST(trop_scan(registry, -1, -1, &json, &error));
    CHECK(strstr(json, "\"status\":\"occupied\"") != NULL && strstr(json, "\"reserved\":false") != NULL);
    trop_string_free(json);
    trop_reserve_options options = TROP_RESERVE_OPTIONS_INIT;
    options.flags = TROP_SKIP_OCCUPANCY_CHECK;
    trop_reservation *reservation;
    MUST(trop_reserve(registry, &options, &reservation, &error));
    trop_reservation_free(reservation);
    MUST(trop_scan(registry, port, port, &json, &error));
    char expected[40];
    snprintf(expected, sizeof(expected), "\"port\":%d,", port);
    CHECK(strstr(json, expected) != NULL && strstr(json, "\"status\":\"occupied (reserved)\"") != NULL);
    CHECK(strstr(json, "\"reserved\":true") != NULL && strstr(json, "\"protocol\":\"tcp\"") != NULL);
    CHECK(strstr(json, "\"address_family\":\"ipv4\"") != NULL && strstr(json, "\"scope\":\"localhost\"") != NULL);
    CHECK(strstr(json, "\"address\":\"127.0.0.1\"") != NULL && strstr(json, "\"process_id\":") != NULL);
    CHECK(strstr(json, "\"process_name\":") != NULL && strstr(json, "\"user\":") != NULL);
    CHECK(strstr(json, "\"owner_status\":") != NULL);
    trop_string_free(json);
    MUST(trop_release(registry, NULL, NULL, &error));
    trop_registry_free(registry);

    /* The range is the one asked for, and the probes are those of the registry. */
    registry = opened(1, 0);
    MUST(trop_scan(registry, port, port, &json, &error));
    CHECK(strstr(json, expected) != NULL);
    trop_string_free(json);
    MUST(trop_scan(registry, -1, 1, &json, &error));
    CHECK(strstr(json, expected) == NULL);
    trop_string_free(json);
    CHECK_ERROR(trop_scan(registry, port, -1, &json, &error), TROP_ERR_CONFIG, "ports");
    trop_registry_free(registry);
    registry = opened(port, TROP_SKIP_TCP);
    MUST(trop_scan(registry, -1, -1, &json, &error));
    CHECK(same_text(json, "[]"));
    trop_string_free(json);
    trop_registry_free(registry);
    close(held);
}

static void make_group_file(void)
{
    trop_registry_free(opened(1, 0)); /* makes the data directory */
    snprintf(group_file, sizeof(group_file), "%s/group.yaml", getenv("TROP_DATA_DIR"));
    FILE *file = fopen(group_file, "w");
    CHECK(file != NULL && fputs("reservations: { services: { web: {} } }\n", file) >= 0 && fclose(file) == 0);
}

int main(void)
{
    make_group_file();
    uint16_t any = 0;
    int ipv6 = bound(kinds[SOCKETS - 1], loopback(kinds[SOCKETS - 1]), &any);
    size_t ways = ipv6 < 0 ? 2 : SOCKETS;
    if (ipv6 >= 0)
        close(ipv6);
    each_flag_skips_its_own_probes(ways);
    other_addresses_count_for_all_interfaces(ways);
    a_held_port_can_be_insisted_on(ways);
    scan_finds_held_ports(ways);
    return failures != 0;
}
