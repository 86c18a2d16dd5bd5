/* The library loaded while the program runs: FUNCTIONS(F) of the file that includes this names what is used of it. */
#ifndef LOADED_H
#define LOADED_H

#include <dlfcn.h>
#include <stdbool.h>

#include "check.h"

/* POSIX lets a data pointer of dlsym be a function's; ISO C has no word for it. */
static void find(void *library, const char *name, void *place) {
    void *const symbol = dlsym(library, name);
    if (symbol == NULL) FAIL("%s", dlerror());
    memcpy(place, &symbol, sizeof symbol);
}

static struct {
    void *library;
#define MEMBER(name) __typeof__(name) *name;
    FUNCTIONS(MEMBER)
} lib;

static void load_library(const char *path) {
    lib.library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (lib.library == NULL) FAIL("%s", dlerror());
#define FIND(name) find(lib.library, #name, &lib.name);
    FUNCTIONS(FIND)
}

static inline void unload_library(void) { CHECK_INT(dlclose(lib.library), 0); }

/* Whether it has stayed. */
static inline bool stays_when_unloaded(const char *path) {
    unload_library();
    void *const again = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    if (again != NULL) CHECK_INT(dlclose(again), 0);
    return again != NULL;
}

#endif
