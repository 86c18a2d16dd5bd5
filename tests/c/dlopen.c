/* The library loaded at run time, used, unloaded, and all of it again. */
#include <dlfcn.h>

#include "support/check.h"
#include "support/server.h"

/* A function of the library by its name. POSIX lets a data pointer of dlsym be a function's; ISO C has no word for
   it. */
static void find(void *library, const char *name, void *place) {
    void *const symbol = dlsym(library, name);
    if (symbol == NULL) FAIL("%s", dlerror());
    memcpy(place, &symbol, sizeof symbol);
}

int main(int argc, char **argv) {
    CHECK_INT(argc, 3); /* the library, and a URL */
    for (int round = 0; round < 20; round++) {
        rs_status (*open)(const char *, const rs_options *, rs_client **, rs_error **);
        rs_status (*run)(rs_client *, size_t, const char *const *, const size_t *,
                         const rs_call_options *, rs_reply **, rs_error **);
        void (*free_client)(rs_client *);
        void (*free_reply)(rs_reply *);
        const char *words[] = {"PING"};
        rs_client *client = NULL;
        rs_reply *reply = NULL;
        void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
        if (library == NULL) FAIL("%s", dlerror());
        find(library, "rs_client_open", &open);
        find(library, "rs_client_command", &run);
        find(library, "rs_client_free", &free_client);
        find(library, "rs_reply_free", &free_reply);
        CHECK_INT(open(argv[2], NULL, &client, NULL), RS_OK);
        CHECK_INT(run(client, 1, words, NULL, NULL, &reply, NULL), RS_OK);
        free_reply(reply);
        free_client(client);
        CHECK_INT(dlclose(library), 0);
    }
}
