/* The header needs no other, may be included twice, and its macros initialise whole structs, in C and C++. */
#include <trop.h>
#include <trop.h>

#define IS_WHOLE(type, macro)             \
    do {                                  \
        type options = macro;             \
        if (options.size != sizeof(type)) \
            return 1;                     \
    } while (0)

int main(void)
{
    IS_WHOLE(trop_open_options, TROP_OPEN_OPTIONS_INIT);
    IS_WHOLE(trop_reserve_options, TROP_RESERVE_OPTIONS_INIT);
    IS_WHOLE(trop_release_options, TROP_RELEASE_OPTIONS_INIT);
    IS_WHOLE(trop_list_options, TROP_LIST_OPTIONS_INIT);
    IS_WHOLE(trop_group_options, TROP_GROUP_OPTIONS_INIT);
    IS_WHOLE(trop_clean_options, TROP_CLEAN_OPTIONS_INIT);
    IS_WHOLE(trop_migrate_options, TROP_MIGRATE_OPTIONS_INIT);
    IS_WHOLE(trop_lease_options, TROP_LEASE_OPTIONS_INIT);
    return 0;
}
