%% @private A time by which something must be done, in milliseconds of the
%% emulator's monotonic clock.
-module(crema_deadline).

-export([in/1, left/1, now/0]).

-compile({no_auto_import, [now/0]}).

-export_type([deadline/0]).

-type deadline() :: integer() | infinity.

-spec now() -> integer().
now() -> erlang:monotonic_time(millisecond).

-spec in(timeout()) -> deadline().
in(infinity) -> infinity;
in(Timeout) -> now() + Timeout.

%% @doc For `receive ... after'.
-spec left(deadline()) -> timeout().
left(infinity) -> infinity;
left(Deadline) -> max(0, Deadline - now()).
