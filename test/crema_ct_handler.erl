%% A handler that does what its case wants. Its arguments, and its state, are a
%% map: `to', who hears of the messages; `init' and `handle', functions in
%% place of what it does by itself, and `terminate', of why it ends.
-module(crema_ct_handler).
-behaviour(crema_consumer).

-export([init/2, handle_message/2, terminate/2]).

init(Info, #{init := Init} = Args) ->
    Init(Info, Args);
init(Info, #{to := To} = Args) ->
    To ! {started, self(), Info},
    {ok, Args#{info => Info}}.

handle_message(Message, #{handle := Handle} = State) ->
    Handle(Message, State);
handle_message(Message, #{to := To} = State) ->
    To ! {handled, self(), Message},
    {ack, State}.

terminate(Why, #{terminate := Terminate}) -> Terminate(Why);
terminate(_, _) -> ok.
