/* The smallest useful program, for the ways of linking: reserves a port and gives it back. */
#include "check.h"

int main(void)
{
    trop_error *error = NULL;
    trop_registry *registry;
    trop_reservation *reservation;
    uint64_t count;
    MUST(trop_open(NULL, &registry, &error));
    MUST(trop_reserve(registry, NULL, &reservation, &error));
    CHECK(trop_reservation_port(reservation) != 0);
    MUST(trop_release(registry, NULL, &count, &error));
    CHECK(count == 1);
    trop_reservation_free(reservation);
    trop_registry_free(registry);
    return failures != 0;
}
