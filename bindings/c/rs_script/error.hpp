// rs::Error, which functions throw, and rs::Result, which their twins named try_ return instead.

#ifndef RS_SCRIPT_ERROR_HPP
#define RS_SCRIPT_ERROR_HPP

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include <rs_script/detail.hpp>

#ifdef __cpp_lib_expected
#include <expected>
// Functions that return another type than before C++23 have another name for the linker, so that files of both may be
// in one program.
#define RS_SCRIPT_RESULT_ABI [[gnu::abi_tag("cxx23")]]
#else
#define RS_SCRIPT_RESULT_ABI
#endif

namespace rs {

// Why a call failed: rs_error as an exception. Copies share it.
class Error : public std::runtime_error {
public:
    // Takes ownership of an error of the C library.
    explicit Error(rs_error *error) : Error(std::shared_ptr<const rs_error>(error, rs_error_free)) {}

    // An error of a program's or of these headers' own, for example of a reply that is not of the type that was asked
    // for. `reason`: one of the RS_REASON_ numbers. `is_not_executed`: whether it is certain that nothing was.
    Error(rs_status status, const std::string &message, std::int32_t reason = RS_REASON_ARGUMENT,
          bool is_not_executed = false)
        : std::runtime_error(message), status_(status), reason_(reason), is_not_executed_(is_not_executed) {}

    // One of the RS_ERR_ numbers.
    rs_status status() const noexcept { return error_ ? rs_error_status(error_.get()) : status_; }

    // Its name, such as `RS_ERR_INDETERMINATE`.
    const char *status_name() const noexcept { return rs_status_name(status()); }

    // The first word of the server's error text, such as `WRONGTYPE`; empty when the server did not answer. Lives as
    // long as this error or a copy of it; of an error without a name it is a copy.
    std::string_view server_code() const & noexcept RS_SCRIPT_LIFETIMEBOUND {
        return rs_error_server_code(error_.get());
    }
    std::string server_code() const && { return rs_error_server_code(error_.get()); }

    // Whether the call may have been executed, or may yet be, without this side ever learning of it.
    bool is_indeterminate() const noexcept {
        return error_ ? rs_error_is_indeterminate(error_.get()) : status_ == RS_ERR_INDETERMINATE;
    }

    // Whether it is certain that the call was not executed and will not be, so that it may be made again.
    bool is_not_executed() const noexcept {
        return error_ ? rs_error_is_not_executed(error_.get()) : is_not_executed_;
    }

    // What ended the call, one of the RS_REASON_ numbers, whatever is known of its execution.
    std::int32_t reason() const noexcept { return error_ ? rs_error_reason(error_.get()) : reason_; }

    // Its name, such as `RS_REASON_DEADLINE`.
    const char *reason_name() const noexcept { return rs_reason_name(reason()); }

    // The item of a pipeline or transaction that it is about; of several without an answer, the first. None where it
    // is about no one item.
    std::optional<std::size_t> index() const noexcept {
        const std::size_t index = rs_error_index(error_.get());
        return index == RS_NO_INDEX ? std::nullopt : std::optional<std::size_t>(index);
    }

    // The server that it is about, as `host:port` or the path of a socket; empty where none is known. Lives as long as
    // this error or a copy of it; of an error without a name it is a copy.
    std::string_view node() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return rs_error_node(error_.get()); }
    std::string node() const && { return rs_error_node(error_.get()); }

private:
    // Owned before anything can throw.
    explicit Error(std::shared_ptr<const rs_error> error)
        : std::runtime_error(rs_error_message(error.get())), error_(std::move(error)) {}

    std::shared_ptr<const rs_error> error_;
    rs_status status_ = RS_ERR_INTERNAL;
    std::int32_t reason_ = RS_REASON_ARGUMENT;
    bool is_not_executed_ = false;
};

template <class T> class RS_SCRIPT_RESULT_ABI Result;

namespace detail {

// For where NULL means something else to the C library than a handle that was moved from.
inline Error moved_from(const char *what) {
    return Error(RS_ERR_INVALID_ARGUMENT, std::string(what) + " moved from; nothing was sent", RS_REASON_ARGUMENT,
                 true);
}

#ifdef __cpp_lib_expected
template <class T> using ResultBase = std::expected<T, Error>;

template <class Base, class... Value> Base succeeded(Value &&...value) {
    return Base(std::in_place, std::forward<Value>(value)...);
}
template <class Base> Base failed(Error error) { return Base(std::unexpect, std::move(error)); }
#else
// What std::expected will be from C++23 on, as far as Result stands on it.
template <class T> class ResultBase {
public:
    using value_type = T;
    using error_type = Error;

    template <std::size_t Which, class... Value>
    explicit ResultBase(std::in_place_index_t<Which> which, Value &&...value)
        : held_(which, std::forward<Value>(value)...) {}

    bool has_value() const noexcept { return held_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }
    T &operator*() noexcept { return *std::get_if<0>(&held_); }
    const T &operator*() const noexcept { return *std::get_if<0>(&held_); }
    Error &error() noexcept { return *std::get_if<1>(&held_); }
    const Error &error() const noexcept { return *std::get_if<1>(&held_); }

private:
    std::variant<T, Error> held_;
};

template <> class ResultBase<void> {
public:
    using value_type = void;
    using error_type = Error;

    explicit ResultBase(std::in_place_index_t<0>) {}
    ResultBase(std::in_place_index_t<1>, Error error) : error_(std::move(error)) {}

    bool has_value() const noexcept { return !error_; }
    explicit operator bool() const noexcept { return has_value(); }
    void operator*() const noexcept {}
    Error &error() noexcept { return *error_; }
    const Error &error() const noexcept { return *error_; }

private:
    std::optional<Error> error_;
};

template <class Base, class... Value> Base succeeded(Value &&...value) {
    return Base(std::in_place_index<0>, std::forward<Value>(value)...);
}
template <class Base> Base failed(Error error) { return Base(std::in_place_index<1>, std::move(error)); }
#endif

// What and_then makes of an error: a Result, or a std::expected with the same error.
template <class To> To failed_as(Error error) {
#ifdef __cpp_lib_expected
    if constexpr (!std::is_constructible_v<To, Error>) return To(std::unexpect, std::move(error));
    else
#endif
        return To(std::move(error));
}


} // namespace detail

// A value or the Error why there is none: what functions named try_ return. It has the members of std::expected, and
// from C++23 on, where the standard library has that, it is one: std::expected<T, rs::Error>. It differs in two
// things. value() throws the rs::Error itself, in every standard. And a value that is taken of a result without a name
// is a value of its own, and no reference that dangles; so `client.try_command({"GET", "k"})->string()` does not
// compile.
template <class T> class [[nodiscard]] Result : public detail::ResultBase<T> {
    using Base = detail::ResultBase<T>;

public:
    // Holds a value.
    Result(T value) : Base(detail::succeeded<Base>(std::move(value))) {}

    // Holds an error.
    Result(Error error) : Base(detail::failed<Base>(std::move(error))) {}

#ifdef __cpp_lib_expected
    // Of the standard's own.
    Result(Base other) : Base(std::move(other)) {}
    Result(std::unexpected<Error> error) : Base(std::unexpect, std::move(error).error()) {}
#endif

    // The value; throws the error when there is none.
    T &value() & RS_SCRIPT_LIFETIMEBOUND { return check(), **this; }
    const T &value() const & RS_SCRIPT_LIFETIMEBOUND { return check(), **this; }
    T value() && { return check(), std::move(Base::operator*()); }

    // The value, unchecked: there must be one.
    T &operator*() & noexcept RS_SCRIPT_LIFETIMEBOUND { return Base::operator*(); }
    const T &operator*() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return Base::operator*(); }
    T operator*() && noexcept(std::is_nothrow_move_constructible_v<T>) { return std::move(Base::operator*()); }
    T *operator->() & noexcept RS_SCRIPT_LIFETIMEBOUND { return &Base::operator*(); }
    const T *operator->() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return &Base::operator*(); }
    const T *operator->() const && = delete;

    // The value, or another one in place of an error.
    template <class U> T value_or(U &&other) const & {
        return this->has_value() ? **this : static_cast<T>(std::forward<U>(other));
    }
    template <class U> T value_or(U &&other) && {
        return this->has_value() ? *std::move(*this) : static_cast<T>(std::forward<U>(other));
    }

    // The error, unchecked: there must be no value.
    const Error &error() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return Base::error(); }
    Error error() && noexcept { return std::move(Base::error()); }

    // What the function makes of the value, a Result itself; the error where there is none.
    template <class F> auto and_then(F &&f) const & {
        using To = std::decay_t<std::invoke_result_t<F, const T &>>;
        return this->has_value() ? std::invoke(std::forward<F>(f), **this) : detail::failed_as<To>(error());
    }
    template <class F> auto and_then(F &&f) && {
        using To = std::decay_t<std::invoke_result_t<F, T>>;
        return this->has_value() ? std::invoke(std::forward<F>(f), *std::move(*this))
                                 : detail::failed_as<To>(Base::error());
    }

    // A Result of what the function makes of the value; the error where there is none.
    template <class F> auto transform(F &&f) const & { return map<const T &>(std::forward<F>(f), *this); }
    template <class F> auto transform(F &&f) && { return map<T>(std::forward<F>(f), std::move(*this)); }

    // The value; what the function makes of the error, a Result of the same type, where there is none.
    template <class F> Result or_else(F &&f) const & {
        return this->has_value() ? *this : Result(std::invoke(std::forward<F>(f), error()));
    }
    template <class F> Result or_else(F &&f) && {
        return this->has_value() ? std::move(*this)
                                 : Result(std::invoke(std::forward<F>(f), std::move(Base::error())));
    }

private:
    void check() const {
        if (!this->has_value()) detail::raise(Base::error());
    }

    template <class Value, class F, class Self> static auto map(F &&f, Self &&self) {
        using To = std::decay_t<std::invoke_result_t<F, Value>>;
        if (!self.has_value()) return Result<To>(static_cast<const Base &>(self).error());
        if constexpr (std::is_void_v<To>)
            return std::invoke(std::forward<F>(f), *std::forward<Self>(self)), Result<To>();
        else return Result<To>(std::invoke(std::forward<F>(f), *std::forward<Self>(self)));
    }
};

// Success, or the Error.
template <> class [[nodiscard]] Result<void> : public detail::ResultBase<void> {
    using Base = detail::ResultBase<void>;

public:
    // Success.
    Result() : Base(detail::succeeded<Base>()) {}

    // Holds an error.
    Result(Error error) : Base(detail::failed<Base>(std::move(error))) {}

#ifdef __cpp_lib_expected
    // Of the standard's own.
    Result(Base other) : Base(std::move(other)) {}
    Result(std::unexpected<Error> error) : Base(std::unexpect, std::move(error).error()) {}
#endif

    // Throws the error if there is one.
    void value() const {
        if (!has_value()) detail::raise(Base::error());
    }

    // The error, unchecked: there must be one.
    const Error &error() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return Base::error(); }
    Error error() && noexcept { return std::move(Base::error()); }

    // What the function gives, a Result itself; the error where there is one.
    template <class F> auto and_then(F &&f) const {
        using To = std::decay_t<std::invoke_result_t<F>>;
        return has_value() ? std::invoke(std::forward<F>(f)) : detail::failed_as<To>(error());
    }

    // A Result of what the function gives; the error where there is one.
    template <class F> auto transform(F &&f) const {
        using To = std::decay_t<std::invoke_result_t<F>>;
        if (!has_value()) return Result<To>(error());
        if constexpr (std::is_void_v<To>) return std::invoke(std::forward<F>(f)), Result<To>();
        else return Result<To>(std::invoke(std::forward<F>(f)));
    }

    // Success; what the function makes of the error, a Result<void>, where there is one.
    template <class F> Result or_else(F &&f) const {
        return has_value() ? *this : Result(std::invoke(std::forward<F>(f), error()));
    }
};

} // namespace rs

#endif // RS_SCRIPT_ERROR_HPP
