%% A handler without init/2.
-module(crema_ct_plain_handler).
-behaviour(crema_consumer).

-export([handle_message/2]).

%% The state is what was given as the handler's arguments.
handle_message(Message, To) ->
    To ! {handled, self(), Message},
    {ack, To}.
