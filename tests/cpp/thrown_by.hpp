/* What a call of the wrapper throws. */
#ifndef THROWN_BY_HPP
#define THROWN_BY_HPP

#include <rs_script.hpp>

#include "support/check.h"

// The error that something throws, which it must.
template <class F> rs::Error thrown_by(F f) {
    try {
        f();
    } catch (const rs::Error &error) {
        return error;
    }
    FAIL("nothing was thrown");
}

#endif
