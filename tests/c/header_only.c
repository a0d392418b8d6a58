/* The header stands alone, may be included twice, and its macros initialise whole structs, in C and in C++. */
#include <trop.h>
#include <trop.h>

int main(void)
{
    trop_open_options open = TROP_OPEN_OPTIONS_INIT;
    trop_reserve_options reserve = TROP_RESERVE_OPTIONS_INIT;
    trop_release_options release = TROP_RELEASE_OPTIONS_INIT;
    return open.size != sizeof(open) || reserve.size != sizeof(reserve) || release.size != sizeof(release);
}
