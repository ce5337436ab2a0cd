%% Judges what handlers were given: what the log has for them, in its order, and
%% again only for a reason.
%%
%% Handlers write before they answer. So what a member that was killed has
%% acknowledged is written, and what is not written was not acknowledged; what is
%% written in its last moment may not have been.
-module(crema_chaos_handled).

-export([violations/1]).

%% How long a handler may take from what it writes to what it does, in microseconds.
-define(MOMENT, 2000000).

-spec violations(crema_chaos_story:story()) -> [crema_chaos_checker:violation()].
violations(Story) ->
    [
        {Kind, About#{group => Name, place => Place}}
     || #{group := #{group := Name}, place := Place} = Part <- crema_chaos_part:all(Story),
        {Kind, About} <- given(Part, Story) ++ repeats(Part, Story) ++ out_of_order(Part)
    ].

given(#{place := Place, given := Given, log := Log}, Story) ->
    All = maps:from_list(crema_chaos_story:log(Place, uncommitted, Story)),
    [
        {
            case All of
                #{Offset := Message} -> aborted_read;
                #{} -> not_in_log
            end,
            #{offset => Offset, message => Message}
        }
     || {Offset, Message} <- ordsets:subtract(Given, ordsets:from_list(Log))
    ].

%% ---- messages that came again -----------------------------------------------------------

%% What is done again when a transaction aborts is no fault: what came of it is judged.
repeats(#{group := #{commit := transactions}}, _Story) ->
    [];
repeats(#{slots := Slots} = Part, Story) ->
    {Found, _} = lists:foldl(
        fun({Name, Begun, Notes} = Slot, {Found, Before}) ->
            Firsts = firsts(Notes),
            Across = [
                Offset
             || {Offset, At} <- maps:to_list(Firsts),
                is_map_key(Offset, Before),
                not is_explained(Offset, {Name, At}, maps:get(Offset, Before), Part, Story)
            ],
            New = [
                {repeated_handling, #{offset => Offset, slot => Name}}
             || Offset <- within(Notes, crashes(Notes), Part, #{}) ++ Across
            ],
            Ended = {Name, Begun, first_open(Slot, Part)},
            {New ++ Found, maps:merge(Before, maps:map(fun(_, _) -> Ended end, Firsts))}
        end,
        {[], #{}},
        Slots
    ),
    Found.

%% When each offset was begun first.
firsts(Notes) ->
    maps:from_list(lists:reverse([{Offset, At} || {At, began, Offset} <- Notes])).

%% In another slot, when the one before had not committed it; or when its own member was put
%% out of the group and did not know it yet.
is_explained(Offset, {Name, At}, {Slot, Begun, Open}, Part, Story) ->
    Offset >= Open orelse crema_chaos_story:gone(Slot, Story) orelse
        crema_chaos_story:gone(Name, Story) orelse
        crema_chaos_part:is_sought(Offset, Begun, At, Part).

%% The first message that a slot has left unacknowledged: what a crash may have undone
%% counts as such.
first_open({_, _, Notes}, #{log := Log}) ->
    Crashes = crashes(Notes),
    Acked = maps:from_list([
        {Offset, true}
     || {At, Offset} <- crema_chaos_part:in_force(Notes), not is_undone(At, Crashes)
    ]),
    First = lists:min([infinity | [Offset || {_, began, Offset} <- Notes]]),
    Open = lists:dropwhile(
        fun({Offset, _}) -> Offset < First orelse is_map_key(Offset, Acked) end, Log
    ),
    element(1, hd(Open ++ [{infinity, none}])).

crashes(Notes) -> [At || {At, crashed, _} <- Notes].

is_undone(At, Crashes) -> lists:any(fun(Crash) -> abs(At - Crash) =< ?MOMENT end, Crashes).

%% In one slot a message comes again when it has failed, when its handler has ended
%% before it was acknowledged, or after a seek.
within([{At, began, Offset} | Rest], Crashes, Part, States) ->
    Again =
        case States of
            #{Offset := {began, Since}} -> not is_crashed(Since, At, Crashes) andalso Since;
            #{Offset := {acked, Since}} -> not is_undone(Since, Crashes) andalso Since;
            #{} -> false
        end,
    [Offset || Again =/= false, not crema_chaos_part:is_sought(Offset, Again, At, Part)] ++
        within(Rest, Crashes, Part, States#{Offset => {began, At}});
within([{At, acked, Offset} | Rest], Crashes, Part, States) ->
    within(Rest, Crashes, Part, States#{Offset => {acked, At}});
within([{_, crashed, all} | Rest], Crashes, Part, States) ->
    within(Rest, Crashes, Part, States);
within([{_, _, Offset} | Rest], Crashes, Part, States) ->
    within(Rest, Crashes, Part, States#{Offset => failed});
within([], _Crashes, _Part, _States) ->
    [].

is_crashed(From, To, Crashes) ->
    lists:any(fun(At) -> From - ?MOMENT =< At andalso At =< To end, Crashes).

%% ---- order ------------------------------------------------------------------------------

%% In a slot messages are begun in order, and none before one that has failed: of the
%% whole partition, or of each process.
out_of_order(#{group := #{order := any}}) ->
    [];
out_of_order(#{group := #{order := Order}, log := Log, slots := Slots} = Part) ->
    Messages = maps:from_list(Log),
    Line =
        case Order of
            partition -> fun(_) -> all end;
            process -> fun(Offset) -> element(1, maps:get(Offset, Messages, {none, 0})) end
        end,
    [
        {handled_out_of_order, #{slot => Name, offset => Offset, while => Others}}
     || {Name, Begun, Notes} <- Slots,
        {At, Offset, Others} <- in_order(Notes, Line, {#{}, #{}, []}),
        not crema_chaos_part:is_sought(Offset, Begun, At, Part)
    ].

%% The highest that was begun of each line, all that were, and those that have failed.
in_order([{At, began, Offset} | Rest], Line, {Highest, Begun, Failed}) ->
    Of = Line(Offset),
    Last = maps:get(Of, Highest, -1),
    Others =
        [{begun, Last} || Last > Offset] ++
            [{failed, Other} || Other <- Failed, Other < Offset, Line(Other) =:= Of],
    State = {Highest#{Of => max(Last, Offset)}, Begun#{Offset => true}, Failed -- [Offset]},
    [{At, Offset, Others} || not is_map_key(Offset, Begun), Others =/= []] ++
        in_order(Rest, Line, State);
in_order([{_, failed, Offset} | Rest], Line, {Highest, Begun, Failed}) ->
    in_order(Rest, Line, {Highest, Begun, [Offset | Failed]});
in_order([{_, acked, Offset} | Rest], Line, {Highest, Begun, Failed}) ->
    in_order(Rest, Line, {Highest, Begun, Failed -- [Offset]});
in_order([_ | Rest], Line, State) ->
    in_order(Rest, Line, State);
in_order([], _Line, _State) ->
    [].
