%% @private The options of a produce call, over what the producer's own say.
-module(crema_call).

-export([fault/1, fault_of/3, is_timeout/1, policy/2, purpose/2, setting/3, wait/2, later/3]).
-export([less/2, more/2]).

-export_type([options/0]).

-type options() :: #{
    timeout => timeout(),
    on_full => wait | error,
    full_timeout => timeout(),
    %% the last when it has been noted, within a call
    report => await | message | none | crema_callbacks:callback() | crema_callbacks:noting(),
    tag => non_neg_integer(),
    partitioner => crema_partitioner:strategy() | iodata()
}.

%% @doc What is wrong with them. Before anything is sent: a wait that cannot be
%% would otherwise be found when the message is on its way.
-spec fault(term()) -> none | crema_error:error().
fault(Options) when map_size(Options) =:= 0 ->
    none;
%% The only option of most calls that are in a hurry.
fault(#{report := Report} = Options) when
    map_size(Options) =:= 1, Report =:= none orelse Report =:= message
->
    none;
fault(Options) ->
    fault_of("a call", Options, fun is_option/2, fun(Key, Value) ->
        fault(Key, takes(Key), Value)
    end).

-spec fault(term(), string(), term()) -> iolist().
fault(Key, "", _Value) ->
    Known = "timeout, on_full, full_timeout, report, tag and partitioner",
    io_lib:format("~0tp is no option of a call, which are ~s", [Key, Known]);
fault(Key, Takes, Value) ->
    io_lib:format("~s must be ~s, not ~0tP", [Key, Takes, Value, 10]).

%% What {@link is_option/2} asks for.
-spec takes(term()) -> string().
takes(Time) when Time =:= timeout; Time =:= full_timeout ->
    "an integer from 0 to 4294967295 (ms), or infinity";
takes(on_full) ->
    "wait or error";
takes(report) ->
    "await, message, none, a function of one argument or {Module, Function, Args}";
takes(tag) ->
    "an integer from 0 on";
takes(partitioner) ->
    "the name of a partitioner, a function of four arguments or {Module, Function, Args}";
takes(_) ->
    "".

%% @doc The same of the options of something else.
-spec fault_of(string(), term(), fun((Key :: term(), Value :: term()) -> boolean())) ->
    none | crema_error:error().
fault_of(What, Options, IsOption) ->
    fault_of(What, Options, IsOption, fun(Key, Value) ->
        io_lib:format("~0tp => ~0tP is no option of ~s", [Key, Value, 5, What])
    end).

-spec fault_of(string(), term(), Is, Says) -> none | crema_error:error() when
    Is :: fun((Key :: term(), Value :: term()) -> boolean()),
    Says :: fun((Key :: term(), Value :: term()) -> iolist()).
fault_of(_What, Options, IsOption, Says) when is_map(Options) ->
    case [Option || {Key, Value} = Option <- maps:to_list(Options), not IsOption(Key, Value)] of
        [] -> none;
        [{Key, Value} | _] -> crema_error:make(bad_call, Says(Key, Value), #{field => Key})
    end;
fault_of(What, Options, _IsOption, _Says) ->
    Text = io_lib:format("the options of ~s are a map, not ~0tP", [What, Options, 10]),
    crema_error:make(bad_call, Text, #{field => options}).

-spec is_option(term(), term()) -> boolean().
is_option(timeout, Time) -> is_timeout(Time);
is_option(full_timeout, Time) -> is_timeout(Time);
is_option(on_full, Policy) -> Policy =:= wait orelse Policy =:= error;
is_option(report, Report) -> is_report(Report);
is_option(tag, Tag) -> is_integer(Tag) andalso Tag >= 0 andalso Tag < 1 bsl 64;
is_option(partitioner, Given) -> crema_partitioner:strategy(Given) =/= error;
is_option(_, _) -> false.

-spec is_report(term()) -> boolean().
is_report(Fun) when is_function(Fun, 1) -> true;
is_report({Module, Function, Args}) ->
    is_atom(Module) andalso is_atom(Function) andalso crema_input:is_proper(Args);
is_report(Report) ->
    lists:member(Report, [await, message, none]).

%% @doc What `receive' takes.
-spec is_timeout(term()) -> boolean().
is_timeout(infinity) -> true;
is_timeout(Time) -> is_integer(Time) andalso Time >= 0 andalso Time < 1 bsl 32.

-spec policy(options(), crema_target:client()) -> refuse | wait.
policy(Options, Client) ->
    case setting(on_full, Options, Client) of
        wait -> wait;
        error -> refuse
    end.

-spec setting(on_full | full_timeout | timeout, options(), crema_target:client()) -> term().
setting(Key, Options, {_, _, Settings}) ->
    case Options of
        #{Key := Value} -> Value;
        _ -> maps:get(Key, Settings)
    end.

%% @doc How long a call may wait before it is accepted.
-spec wait(options(), crema_target:client()) -> timeout().
wait(Options, Client) ->
    min(setting(full_timeout, Options, Client), setting(timeout, Options, Client)).

%% @doc What a call that may wait for its place, or may not, wants a client for.
-spec purpose(options(), crema_target:client()) -> crema_producer:purpose().
purpose(Options, Client) ->
    case policy(Options, Client) of
        wait -> produce;
        refuse -> produce_now
    end.

%% @doc The options of a call that goes on, with the time it has left since then
%% (ms of the monotonic clock).
-spec later(options(), crema_target:client(), Since :: integer()) -> options().
later(Options, Client, Since) ->
    Spent = erlang:monotonic_time(millisecond) - Since,
    Left = [{Key, less(setting(Key, Options, Client), Spent)} || Key <- [full_timeout, timeout]],
    maps:merge(Options, maps:from_list(Left)).

%% @doc A time without a part of it.
-spec less(timeout(), non_neg_integer()) -> timeout().
less(infinity, _) -> infinity;
less(Timeout, Spent) -> max(0, Timeout - Spent).

%% @doc A time and some more.
-spec more(timeout(), non_neg_integer()) -> timeout().
more(infinity, _) -> infinity;
more(Timeout, Margin) -> Timeout + Margin.
