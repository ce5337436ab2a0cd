%% The same as crema_chaos_handler, with batches.
-module(crema_chaos_batches).
-behaviour(crema_consumer).

-export([init/2, handle_messages/2, terminate/2]).

%% Of a hundred batches so many fail, and are acknowledged in part.
-define(FAIL, 2).
-define(IN_PART, 10).

init(Info, Args) -> crema_chaos_handler:init(Info, Args).

terminate(Why, State) -> crema_chaos_handler:terminate(Why, State).

handle_messages(Messages, State0) ->
    State = crema_chaos_handler:handling(Messages, State0),
    crema_chaos_handler:take_time(),
    Offsets = [Offset || #{offset := Offset} <- Messages],
    case rand:uniform(100) of
        N when N =< ?FAIL ->
            crema_chaos_handler:told(failed, Offsets, State),
            {error, planned, State};
        N when N =< ?IN_PART ->
            {Done, Rest} = lists:split(rand:uniform(length(Offsets)), Offsets),
            crema_chaos_handler:told(failed, Rest, State),
            crema_chaos_handler:told(acknowledged, Done, State),
            {ack, lists:last(Done), State};
        _ ->
            crema_chaos_handler:told(acknowledged, Offsets, State),
            {ack, State}
    end.
