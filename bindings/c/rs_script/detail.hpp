// What the headers of rs_script for C++ have in common: handles of the C library, and what the compiler knows. Nothing
// here is for programs.

#ifndef RS_SCRIPT_DETAIL_HPP
#define RS_SCRIPT_DETAIL_HPP

#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>

#if defined(__has_include)
#if __has_include(<version>)
#include <version>
#endif
#endif

#include <rs_script.h>

// Behind a parameter or a function: what is returned refers to it. Clang then warns where it outlives it.
#if defined(__has_cpp_attribute)
#if __has_cpp_attribute(clang::lifetimebound)
#define RS_SCRIPT_LIFETIMEBOUND [[clang::lifetimebound]]
#endif
#endif
#ifndef RS_SCRIPT_LIFETIMEBOUND
#define RS_SCRIPT_LIFETIMEBOUND
#endif

namespace rs {

// A bool of which only a bool is made: `{"a"}` and `{1}`, arguments in the wrong place, are no options.
class Flag {
public:
    constexpr Flag() noexcept = default;
    template <class T, std::enable_if_t<std::is_same_v<T, bool>, int> = 0> constexpr Flag(T on) noexcept : on_(on) {}
    constexpr operator bool() const noexcept { return on_; }

private:
    bool on_ = false;
};

namespace detail {

// Throws, or ends the program where there are no exceptions.
template <class Exception> [[noreturn]] void raise(const Exception &exception) {
#if defined(__cpp_exceptions)
    throw exception;
#else
    (void)exception;
    std::terminate();
#endif
}

// Does something; false where there was no memory for it. Without exceptions that ends the program.
template <class Do> bool has_memory(Do &&act) {
#if defined(__cpp_exceptions)
    try {
        act();
    } catch (const std::bad_alloc &) {
        return false;
    }
#else
    act();
#endif
    return true;
}

// C reads a text up to its first NUL: what has one would silently be another.
inline bool has_nul(std::string_view text) noexcept { return text.find('\0') != std::string_view::npos; }

// A text that may hold a password: it is overwritten before its memory is given back.
struct Secret {
    std::string text;

    explicit Secret(std::string_view secret) : text(secret) {}
    Secret(const Secret &) = delete;
    Secret &operator=(const Secret &) = delete;
    ~Secret() { overwrite(text); }

    static void overwrite(std::string &secret) noexcept {
        for (char &byte : secret) static_cast<volatile char &>(byte) = '\0';
    }
};

// Frees a handle with its function of the C library.
template <auto Free> struct Freeing {
    template <class T> void operator()(T *handle) const noexcept { Free(handle); }
};

template <class T, auto Free> using Handle = std::unique_ptr<T, Freeing<Free>>;

} // namespace detail
} // namespace rs

#endif // RS_SCRIPT_DETAIL_HPP
