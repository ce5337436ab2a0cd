defmodule Cafe.Barista do
  @moduledoc """
  Serves the orders of the topic: tells it to those who subscribed to the order's batch.
  """
  use Crema.Consumer, start: :earliest

  @impl true
  def handle_message(message, state) do
    for {"batch", batch} <- message.headers do
      Registry.dispatch(Cafe.Subscribers, batch, fn subscribers ->
        for {pid, nil} <- subscribers, do: send(pid, {:served, message})
      end)
    end

    {:ack, state}
  end
end
