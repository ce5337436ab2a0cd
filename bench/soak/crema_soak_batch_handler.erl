%% Acknowledges batches whole, in part, or not before they have failed once.
-module(crema_soak_batch_handler).
-behaviour(crema_consumer).

-export([handle_messages/2]).

handle_messages([#{offset := First} | _] = Messages, State) ->
    case First rem 7 of
        0 when length(Messages) > 1 -> {ack, First, State};
        1 -> _ = spawn(fun() -> crema:ack(Messages) end), {noack, State};
        2 when First rem 50 =:= 2 -> error(planned);
        _ -> {ack, State}
    end.
