%% A handler of whole batches: `init' and `handle' in its arguments decide.
-module(crema_ct_batch_handler).
-behaviour(crema_consumer).

-export([init/2, handle_messages/2]).

init(Info, #{init := Init} = Args) -> Init(Info, Args);
init(_Info, Args) -> {ok, Args}.

handle_messages(Messages, #{handle := Handle} = State) ->
    Handle(Messages, State);
handle_messages(Messages, #{to := To} = State) ->
    To ! {batch, self(), Messages},
    {ack, State}.
