/* The library loaded at run time, used, unloaded, and all of it again. */
#define FUNCTIONS(F)                                                                                                   \
    F(rs_client_open)                                                                                                  \
    F(rs_client_command)                                                                                               \
    F(rs_client_free)                                                                                                  \
    F(rs_reply_free)
#include "support/loaded.h"

int main(int argc, char **argv) {
    CHECK_INT(argc, 3); /* the library, and a URL */
    for (int round = 0; round < 20; round++) {
        const char *words[] = {"PING"};
        rs_client *client = NULL;
        rs_reply *reply = NULL;
        load_library(argv[1]);
        CHECK_INT(lib.rs_client_open(argv[2], NULL, &client, NULL), RS_OK);
        CHECK_INT(lib.rs_client_command(client, 1, words, NULL, NULL, &reply, NULL), RS_OK);
        lib.rs_reply_free(reply);
        lib.rs_client_free(client);
        unload_library();
    }
}
