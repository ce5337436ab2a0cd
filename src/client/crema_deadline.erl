%% @private A time by which something must be done, in milliseconds of the
%% emulator's monotonic clock.
-module(crema_deadline).

-export([in/1, left/1]).

-export_type([deadline/0]).

-type deadline() :: integer() | infinity.

-spec in(timeout()) -> deadline().
in(infinity) -> infinity;
in(Timeout) -> erlang:monotonic_time(millisecond) + Timeout.

%% @doc For `receive ... after'.
-spec left(deadline()) -> timeout().
left(infinity) -> infinity;
left(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).
