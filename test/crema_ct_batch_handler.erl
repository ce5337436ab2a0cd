%% A handler of whole batches: `handle' in its arguments decides.
-module(crema_ct_batch_handler).
-behaviour(crema_consumer).

-export([handle_messages/2]).

handle_messages(Messages, #{handle := Handle} = State) ->
    Handle(Messages, State);
handle_messages(Messages, #{to := To} = State) ->
    To ! {batch, self(), Messages},
    {ack, State}.
