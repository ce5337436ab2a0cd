defmodule Cafe do
  @moduledoc """
  Guests order, baristas serve, and a Kafka topic lies between them.
  """

  @doc """
  Puts the orders of a batch, `{guest, drink}` each, into the topic and waits until all are there.

  Orders of one guest are served in their order: the guest is the key.
  """
  @spec order(batch :: String.t(), [{guest :: String.t(), drink :: String.t()}], Crema.client()) ::
          {:ok, [Crema.result()]} | Crema.error()
  def order(batch, orders, producer \\ Cafe.Producer) do
    topic = Application.fetch_env!(:cafe, :topic)

    Crema.produce_many(
      producer,
      for {guest, drink} <- orders do
        %{topic: topic, key: guest, value: drink, headers: [{"batch", batch}]}
      end
    )
  end

  @doc "From now on the caller is sent `{:served, message}` for each order of this batch."
  @spec subscribe(batch :: String.t()) :: :ok
  def subscribe(batch) do
    {:ok, _registry} = Registry.register(Cafe.Subscribers, batch, nil)
    :ok
  end
end
