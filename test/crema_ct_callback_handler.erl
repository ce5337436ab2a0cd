%% A handler with every callback: each tells the process `to' of its call, and
%% then does what the function under its name in the handler's arguments does.
-module(crema_ct_callback_handler).
-behaviour(crema_consumer).

-export([init/2, handle_message/2, handle_assigned/2, handle_revoked/2, handle_lost/2]).
-export([handle_error/2, handle_info/2, terminate/2]).

init(Info, Args) -> told(init, Info, Args).
handle_message(Message, State) -> told(handle_message, Message, State).
handle_assigned(Info, State) -> told(handle_assigned, Info, State).
handle_revoked(Info, State) -> told(handle_revoked, Info, State).
handle_lost(Info, State) -> told(handle_lost, Info, State).
handle_error(Reason, State) -> told(handle_error, Reason, State).
handle_info(Message, State) -> told(handle_info, Message, State).
terminate(Why, State) -> told(terminate, Why, State).

told(Callback, Argument, #{to := To} = State) ->
    To ! {called, self(), Callback, Argument},
    case State of
        #{Callback := Function} -> Function(Argument, State);
        #{} when Callback =:= handle_message -> {ack, State};
        #{} -> {ok, State}
    end.
