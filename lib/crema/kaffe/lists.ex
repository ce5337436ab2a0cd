defmodule Crema.Kaffe.Lists do
  @moduledoc false
  # A handler of lists: see `Crema.Kaffe.MessageHandler`.

  @behaviour :crema_consumer

  alias Crema.Kaffe.{Handler, Message, Turns}

  # What is handled and not to be committed yet waits, the newest first.
  @impl true
  def init(%{consumer: consumer, partition: partition}, args),
    do: {:ok, Map.merge(args, %{line: {consumer, partition}, waiting: []})}

  @impl true
  def handle_messages(messages, %{module: module} = state) do
    given = Enum.map(messages, &Message.consumed(&1, state.null))

    case in_turn(state, fn -> module.handle_messages(given) end) do
      :ok ->
        {:ack, acknowledged(state.waiting, state)}

      {:ok, :no_commit} ->
        {:noack, waiting(messages, state)}

      {:ok, offset} when is_integer(offset) ->
        done_up_to(offset, messages, state)

      other ->
        may = ":ok, {:ok, :no_commit}, {:ok, offset}"
        Handler.failed(other, {module, :handle_messages, 1}, may, state)
    end
  end

  defp in_turn(%{turns: false}, handle), do: handle.()
  defp in_turn(%{line: line}, handle), do: Turns.take(line, handle)

  # Behind the offset nothing comes again: it waits.
  defp done_up_to(offset, messages, state) do
    {later, done} =
      messages |> waiting(state) |> Map.get(:waiting) |> Enum.split_while(&(elem(&1, 0) > offset))

    {:noack, %{acknowledged(done, state) | waiting: later}}
  end

  defp waiting(messages, state) do
    waiting =
      for %{offset: offset, token: token} <- messages, reduce: state.waiting do
        waiting -> [{offset, token} | waiting]
      end

    %{state | waiting: waiting}
  end

  # A token that is of no use any more belongs to messages that come again elsewhere.
  defp acknowledged(waiting, state) do
    _ = Crema.ack(for {_offset, token} <- waiting, do: token)
    %{state | waiting: []}
  end
end
