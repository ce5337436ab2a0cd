%% @private Which partitions a consumer has paused, and the flags by which their
%% workers know: a pause is in force when it has returned, whatever the workers
%% are doing.
-module(crema_paused).

-export([new/0, set/3, is/2, is_named/2, flag/2, is_raised/1]).

-export_type([paused/0, flag/0]).

-type place() :: crema_group_events:place().
-type flag() :: atomics:atomics_ref().

-record(paused, {
    %% what goes for all partitions, those to come included
    all = false :: boolean(),
    %% but not for these
    others = #{} :: #{place() => []},
    flags = #{} :: #{place() => flag()}
}).
-opaque paused() :: #paused{}.

-spec new() -> paused().
new() -> #paused{}.

%% @doc Pauses, or resumes.
-spec set(all | [place()], boolean(), paused()) -> paused().
set(all, Value, Paused) ->
    raise(Paused#paused{all = Value, others = #{}});
set(Places, Value, #paused{all = All, others = Others} = Paused) ->
    raise(Paused#paused{
        others =
            case Value of
                All -> maps:without(Places, Others);
                _ -> maps:merge(Others, maps:from_keys(Places, []))
            end
    }).

-spec raise(paused()) -> paused().
raise(#paused{flags = Flags} = Paused) ->
    maps:foreach(fun(Place, Flag) -> put_flag(Flag, is(Place, Paused)) end, Flags),
    Paused.

-spec put_flag(flag(), boolean()) -> ok.
put_flag(Flag, true) -> atomics:put(Flag, 1, 1);
put_flag(Flag, false) -> atomics:put(Flag, 1, 0).

-spec is(place(), paused()) -> boolean().
is(Place, #paused{all = All, others = Others}) ->
    All xor is_map_key(Place, Others).

%% @doc Whether something was said of this very partition.
-spec is_named(place(), paused()) -> boolean().
is_named(Place, #paused{others = Others}) ->
    is_map_key(Place, Others).

%% @doc The flag of a partition, for its worker: the same as long as the member is.
-spec flag(place(), paused()) -> {flag(), paused()}.
flag(Place, #paused{flags = Flags} = Paused) ->
    case Flags of
        #{Place := Flag} ->
            {Flag, Paused};
        _ ->
            Flag = atomics:new(1, []),
            ok = put_flag(Flag, is(Place, Paused)),
            {Flag, Paused#paused{flags = Flags#{Place => Flag}}}
    end.

-spec is_raised(flag()) -> boolean().
is_raised(Flag) ->
    atomics:get(Flag, 1) =:= 1.
